"""Select the candidate, and decide whether it passes the gate. Reads and writes nothing."""

from typing import Any

Numbers = dict[str, Any]
"""Entry of one model in metrics.json."""

_SLACK = 1e-9  # a drop of 0.03 is within a limit of 0.03 despite floating-point rounding


def candidate(models: dict[str, Numbers], baseline: str, max_general_drop: float, max_hallucination_rise: float) -> str:
    """Return the best model other than the baseline, by the validation questions only.

    The best model has the highest `answer_accuracy` minus `hallucination_rate` (a wrong answer costs as much as a
    correct one earns) among the models within the gate's two limits on validation, or among all if there is none. A tie
    goes to the model named first. Test questions are not used, so that the test results have no selection bias.
    """
    before = models[baseline]["validation"]
    others = {name: numbers["validation"] for name, numbers in models.items() if name != baseline}
    sound = [
        name
        for name, now in others.items()
        if _drop(now, before) <= max_general_drop + _SLACK and _rise(now, before) <= max_hallucination_rise + _SLACK
    ]
    return max(sound or others, key=lambda name: others[name]["answer_accuracy"] - others[name]["hallucination_rate"])


def verdict(
    models: dict[str, Numbers], name: str, baseline: str, max_general_drop: float, max_hallucination_rise: float
) -> dict[str, Any]:
    """Return the gate's verdict on the candidate `name` against the baseline on the test questions.

    Accuracy must be significantly higher (the interval of the paired difference is above 0). The hallucination rate and
    general accuracy must be within their limits, judged by their point estimates. A metric that was not measured fails.
    The verdict has `passed`, the single `checks`, and the details of failed checks as `reasons`.
    """
    now, before, change = models[name], models[baseline], models[name]["differences"][baseline]
    checks = [
        _check(
            f"higher accuracy than {baseline}",
            change["answer_accuracy"]["interval"][0] > 0,
            f"Accuracy: {_move('answer_accuracy', now, before, change)}, which must be above zero.",
        ),
        _hallucination_check(now, before, change, baseline, max_hallucination_rise),
        _general_check(now, before, change, baseline, max_general_drop),
    ]
    reasons = [check["detail"] for check in checks if not check["passed"]]
    return {"passed": not reasons, "checks": checks, "reasons": reasons}


def _hallucination_check(now: Numbers, before: Numbers, change: Numbers, baseline: str, rise: float) -> dict[str, Any]:
    name = f"hallucination rate within the limit against {baseline}"
    if "refusal_recall" not in now:
        return _check(name, False, "Hallucination rate: not measured, because there is no unanswerable test question.")
    moved = _move("hallucination_rate", now, before, change)
    detail = f"Hallucination rate: {moved}; a rise of {100 * rise:.1f} points is allowed."
    return _check(name, _rise(now, before) <= rise + _SLACK, detail)


def _general_check(now: Numbers, before: Numbers, change: Numbers, baseline: str, drop: float) -> dict[str, Any]:
    name = f"general accuracy against {baseline} within the limit"
    if "general_accuracy" not in now:
        return _check(name, False, "General accuracy: not measured, because there is no general test question.")
    moved = _move("general_accuracy", now, before, change)
    detail = f"General accuracy: {moved}; a drop of {100 * drop:.1f} points is allowed."
    return _check(name, _drop(now, before) <= drop + _SLACK, detail)


def _check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "detail": detail}


def _drop(now: Numbers, before: Numbers) -> float:
    if "general_accuracy" not in now:
        return 0.0  # not measured: does not affect the candidate; `_general_check` fails the gate
    return float(before["general_accuracy"] - now["general_accuracy"])


def _rise(now: Numbers, before: Numbers) -> float:
    return float(now["hallucination_rate"] - before["hallucination_rate"])


def _move(metric: str, now: Numbers, before: Numbers, change: Numbers) -> str:
    low, high = change[metric]["interval"]
    return (
        f"{100 * before[metric]:.1f}% before, {100 * now[metric]:.1f}% now "
        f"(the 95% interval of the change is {100 * low:+.1f} to {100 * high:+.1f} points)"
    )
