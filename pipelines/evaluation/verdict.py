"""Which model is the candidate, and whether it passes the gate. Reads and writes nothing."""

from typing import Any

Numbers = dict[str, Any]
"""One model's part of metrics.json."""

_SLACK = 1e-9  # a limit of 0.03 is kept by a fall of 0.03, whatever its last binary digit


def candidate(models: dict[str, Numbers], baseline: str, max_general_drop: float, max_hallucination_rise: float) -> str:
    """Name the best model that is not the baseline, by the validation questions alone.

    Best is the highest `answer_accuracy` minus `hallucination_rate` (a wrong answer costs what a right one earns)
    among the models that keep within the gate's two limits on validation, or among all when none does. A tie goes to
    the model named first. The test questions have no say: the report on them is not the best of several draws.
    """
    before = models[baseline]["validation"]
    others = {name: numbers["validation"] for name, numbers in models.items() if name != baseline}
    sound = [
        name
        for name, now in others.items()
        if _fall(now, before) <= max_general_drop + _SLACK and _rise(now, before) <= max_hallucination_rise + _SLACK
    ]
    return max(sound or others, key=lambda name: others[name]["answer_accuracy"] - others[name]["hallucination_rate"])


def verdict(
    models: dict[str, Numbers], name: str, baseline: str, max_general_drop: float, max_hallucination_rise: float
) -> dict[str, Any]:
    """Hold the candidate `name` against the baseline on the test questions.

    It must answer better beyond chance (the interval of the paired difference lies above 0), invent no more and have
    forgotten no more than allowed; the last two are judged by their point estimates.
    What was not measured is not passed. Returns `passed`, the `checks` one
    by one, and as `reasons` the details of those that failed.
    """
    now, before, change = models[name], models[baseline], models[name]["differences"][baseline]
    checks = [
        _check(
            f"answers better than {baseline}",
            change["answer_accuracy"]["interval"][0] > 0,
            f"Right answers: {_move('answer_accuracy', now, before, change)}, which must lie above zero.",
        ),
        _invention(now, before, change, baseline, max_hallucination_rise),
        _forgetting(now, before, change, baseline, max_general_drop),
    ]
    reasons = [check["detail"] for check in checks if not check["passed"]]
    return {"passed": not reasons, "checks": checks, "reasons": reasons}


def _invention(now: Numbers, before: Numbers, change: Numbers, baseline: str, rise: float) -> dict[str, Any]:
    name = f"invents no more than {baseline}"
    if "refusal_recall" not in now:
        return _check(name, False, "Invented answers: not measured, since there is no unanswerable test question.")
    moved = _move("hallucination_rate", now, before, change)
    detail = f"Invented answers: {moved}; a rise of {100 * rise:.1f} points is allowed."
    return _check(name, _rise(now, before) <= rise + _SLACK, detail)


def _forgetting(now: Numbers, before: Numbers, change: Numbers, baseline: str, drop: float) -> dict[str, Any]:
    name = f"forgets no more than allowed of what {baseline} knew"
    if "general_accuracy" not in now:
        return _check(name, False, "General facts: not measured, since there is no general test question.")
    moved = _move("general_accuracy", now, before, change)
    detail = f"General facts: {moved}; a fall of {100 * drop:.1f} points is allowed."
    return _check(name, _fall(now, before) <= drop + _SLACK, detail)


def _check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "detail": detail}


def _fall(now: Numbers, before: Numbers) -> float:
    if "general_accuracy" not in now:
        return 0.0  # not measured: no reason to choose another candidate; the gate is shut by `_forgetting`
    return float(before["general_accuracy"] - now["general_accuracy"])


def _rise(now: Numbers, before: Numbers) -> float:
    return float(now["hallucination_rate"] - before["hallucination_rate"])


def _move(metric: str, now: Numbers, before: Numbers, change: Numbers) -> str:
    low, high = change[metric]["interval"]
    return (
        f"{100 * before[metric]:.1f}% before, {100 * now[metric]:.1f}% now "
        f"(the 95% interval of the change is {100 * low:+.1f} to {100 * high:+.1f} points)"
    )
