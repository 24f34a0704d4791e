"""The curve.json of best_of_n, of samples whose rewards are right or wrong."""

from pipelines.artifacts import Row
from pipelines.evaluation.best_of_n import curve as curves
from pipelines.evaluation.best_of_n.curve import Sample


def sampled(good_reward: bool, questions: int = 40) -> list[list[Sample]]:
    """Return four samples of each question, three equal and correct; the reward prefers a correct or the wrong one."""
    wrong = Sample("Vosper", "wrong", 0.0 if good_reward else 1.0)
    return [[Sample("Drace", "correct", 0.5)] * 3 + [wrong] for _ in range(questions)]


def curve_json(good_reward: bool = True) -> Row:
    """Return curve.json of 40 questions about 40 documents."""
    samples = sampled(good_reward)
    return {
        "candidate": "dpo",
        "n": 4,
        "questions": 40,
        "decoded": 0.7,
        "curve": curves.curve(samples),
        "reward_against_majority": curves.reward_against_majority(samples, [str(n) for n in range(40)], 200, 1, 10),
    }
