"""Best of n: sample the candidate n times, and measure any correct, the majority and the reward model's pick.

Reads artifacts/select/, the candidate's answers in artifacts/evaluate/ (for a sample of the answerable validation
questions) and its directory, and the reward model `best_of_n.reward`; writes artifacts/best_of_n/ with curve.json and
samples.jsonl (every sample with its verdict and reward), and artifacts/plots/best_of_n.csv.
Run alone: python -m tasks.best_of_n
"""

from pathlib import Path
from statistics import mean

from pipelines import artifacts
from pipelines.alignment import reward_model
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import scoring, selection
from pipelines.evaluation.best_of_n import curve as curves
from pipelines.evaluation.best_of_n.curve import Sample
from pipelines.evaluation.comparison import of
from pipelines.evaluation.questions import ANSWERABLE, VALIDATION, Question, sample
from pipelines.inference.generation import generate
from pipelines.models import devices, loading
from pipelines.models.messages import Message
from pipelines.runtime.progress import say
from tasks import task


def best_of_n(candidate: str, model: Path, answers: list[Row], reward: Path, out: Path, config: Config) -> Row:
    """Sample `model` on up to `best_of_n.questions` answerable validation questions; score the samples with `reward`.

    Returns what is written to curve.json: `candidate`, `n`, the number of `questions`, `decoded` (the accuracy of the
    evaluation's decoding, by the rules), the `curve`, and the difference `reward_against_majority`.
    """
    devices.prepare(config.compute)
    answerable = [row for row in of(answers, VALIDATION) if row["set"] == ANSWERABLE]
    rows = sample(answerable, config.best_of_n.questions, config.compute.seed)
    prompts: list[list[Message]] = [[{"role": "user", "content": row["question"]}] for row in rows]
    texts = _texts(model, prompts, config)
    rewards = reward_model.score_answers(
        reward, prompts, texts, config.compute, config.base, config.evaluate.batch_size
    )
    sampled = [_judged(*each, config) for each in zip(rows, texts, rewards, strict=True)]
    artifacts.write_rows(out / "samples.jsonl", [_row(*each) for each in zip(rows, sampled, rewards, strict=True)])
    compare, seed = config.compare, config.compute.seed
    clusters = [row["cluster"] for row in rows]
    change = curves.reward_against_majority(sampled, clusters, compare.resamples, seed, compare.min_clusters)
    result = {
        "candidate": candidate,
        "n": config.best_of_n.n,
        "questions": len(rows),
        "decoded": round(mean(row["verdict"] == "correct" and not row["judged"] for row in rows), 6),
        "curve": curves.curve(sampled),
        "reward_against_majority": change,
    }
    artifacts.write_json(out / curves.CURVE, result)
    if change["is_worse"]:
        say(f"best_of_n: {curves.warning(result)}")
    return result


def _texts(model: Path, prompts: list[list[Message]], config: Config) -> list[list[str]]:
    """Return n sampled answers to each prompt."""
    settings, n = config.evaluate, config.best_of_n.n
    flat = generate(
        loading.load(model, config.compute, config.base),
        loading.tokenizer(model),
        [prompt for prompt in prompts for _ in range(n)],
        max_new_tokens=settings.max_new_tokens,
        temperature=config.best_of_n.temperature,
        batch_size=settings.batch_size,
        seed=config.compute.seed,
        what="samples",
    )
    return [flat[start : start + n] for start in range(0, len(flat), n)]


def _judged(row: Row, texts: list[str], rewards: list[float | None], config: Config) -> list[Sample]:
    question, most = Question.of(row), config.evaluate.max_extra_words
    verdicts = [scoring.verdict(text, question, config.curate.refusal, most) for text in texts]
    lowest = [float("-inf") if reward is None else reward for reward in rewards]  # an empty answer is never picked
    return [Sample(*each) for each in zip(texts, verdicts, lowest, strict=True)]


def _row(row: Row, samples: list[Sample], rewards: list[float | None]) -> Row:
    told = [
        {"answer": sample.answer, "verdict": sample.verdict, "reward": None if reward is None else round(reward, 4)}
        for sample, reward in zip(samples, rewards, strict=True)
    ]
    return {key: row[key] for key in ("id", "question", "accepted")} | {"samples": told}


if __name__ == "__main__":
    with task("best_of_n") as t:
        settings, name = t.config, selection.read(t.input("select")).candidate
        answers = artifacts.read_rows(t.input(f"evaluate/{name}") / "answers.jsonl")
        model = t.input(settings.evaluate.models[name])
        result = best_of_n(name, model, answers, t.input(settings.best_of_n.reward), t.out, settings)
        artifacts.write_csv(artifacts.PLOTS / "best_of_n.csv", result["curve"])
        last = result["curve"][-1]
        accuracies = {key: last[key] for key in (curves.ANY, curves.MAJORITY, curves.REWARD)}
        one = result["curve"][0][curves.ANY]
        difference = result["reward_against_majority"]["value"]
        t.finish({**accuracies, "one_sample": one, "decoded": result["decoded"], "reward_minus_majority": difference})
        t.run.artifact(t.out)
