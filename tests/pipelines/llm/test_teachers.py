"""Local teachers: batches are planned over all calls, so that a crash and a resume do not change answers."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.inference import continuous
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.calls import Answer, Call, Failure, Keep
from pipelines.llm.local import LocalTeacher
from pipelines.llm.teachers import fingerprint, load_judge, load_teachers
from pipelines.models import loading
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def local(base: Path, config: Config, continuous: bool = False) -> LocalTeacher:
    loaded, tok = loading.load(base, config.compute), loading.tokenizer(base)
    return LocalTeacher(loaded, tok, 4, 3, instructed=True, continuous=continuous)


def calls(count: int, temperature: float | None = None) -> list[Call]:
    words = [f"question {at} {'very ' * (at % 5)}long" for at in range(count)]
    return [Call([{"role": "user", "content": text}], 6, temperature) for text in words]


class CrashError(Exception):
    """Simulates a crash in the middle of a batch."""


@pytest.mark.parametrize("temperature", [None, 0.9])
def test_resume_after_a_crash_repeats_no_call_and_changes_no_answer(
    base: Path, config: Config, tmp_path: Path, temperature: float | None
) -> None:
    asked = calls(14, temperature)
    whole = CachedModel(local(base, config), ResponseCache(tmp_path / "whole.db"), "m", "1", 3).ask(asked, "asking")

    class Dying(LocalTeacher):
        def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
            left = iter(range(9))

            def some(place: int, answer: Answer | Failure) -> None:
                if next(left, None) is None:
                    raise CrashError
                keep(place, answer)

            super().answer(calls, wanted, what, some)

    teacher = local(base, config)
    dying = Dying(teacher.model, teacher.tok, 4, 3, instructed=True, continuous=False)
    with pytest.raises(CrashError):
        CachedModel(dying, ResponseCache(tmp_path / "calls.db"), "m", "1", 3).ask(asked, "asking")
    resumed = CachedModel(local(base, config), ResponseCache(tmp_path / "calls.db"), "m", "1", 3)
    assert resumed.ask(asked, "asking") == whole
    assert (resumed.counts["kept"], resumed.counts["paid"]) == (9, 5)


def test_batch_dependent_answers_are_cached_per_list_of_calls(base: Path, config: Config, tmp_path: Path) -> None:
    cached = CachedModel(local(base, config), ResponseCache(tmp_path / "calls.db"), "m", "1", 3)
    cached.ask(calls(6), "asking")
    cached.ask(calls(6), "asking")
    assert (cached.counts["kept"], cached.counts["paid"]) == (6, 6)
    cached.ask(calls(7), "asking")
    assert cached.counts["paid"] == 13


def test_continuous_teacher_matches_and_reuses_cached_answers(
    base: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(continuous.respond_continuously, blocks=8)  # otherwise the cache takes all free memory
    monkeypatch.setattr("pipelines.llm.local.respond_continuously", small)
    in_batches = CachedModel(local(base, config), ResponseCache(tmp_path / "batches.db"), "m", "1", 3).ask(
        calls(9), "asking"
    )
    cached = CachedModel(local(base, config, continuous=True), ResponseCache(tmp_path / "calls.db"), "m", "1", 3)
    assert [reply.text for reply in cached.ask(calls(6), "asking")] == [reply.text for reply in in_batches[:6]]
    assert [reply.text for reply in cached.ask(calls(9), "asking")] == [reply.text for reply in in_batches]
    assert (cached.counts["kept"], cached.counts["paid"]) == (6, 9)


def test_prompt_longer_than_the_context_is_a_failure(base: Path, config: Config, tmp_path: Path) -> None:
    cached = CachedModel(local(base, config), ResponseCache(tmp_path / "calls.db"), "m", "1", 3)
    long = Call([{"role": "user", "content": "long " * 600}], 6)
    replies = cached.ask([*calls(2), long], "asking")
    assert [reply.failure for reply in replies][2] == "too_long_for_context"
    assert all(reply.failure != "too_long_for_context" for reply in replies[:2])


def test_roles_share_a_model_and_weights_identify_it(base: Path, config: Config, tmp_path: Path) -> None:
    store = ResponseCache(tmp_path / "calls.db")
    teachers = load_teachers(config.teacher, base, config.base, config.compute, 4, store)
    assert teachers.writer is teachers.reader and teachers.judge is None
    assert teachers.writer is not None and not teachers.writer.instructed
    teachers.writer.ask(calls(2), "asking")
    assert teachers.counts() == {"calls_paid": 2.0, "calls_kept": 0.0, "calls_failed": 0.0, "cost": 0.0}
    model = loading.load(base, config.compute)
    before = fingerprint(model)
    model.get_input_embeddings().weight.data[0, 0] += 1
    assert fingerprint(model) != before


def test_local_model_is_loaded_by_its_path(base: Path, config: Config, tmp_path: Path) -> None:
    settings = config.teacher.model_dump()
    settings |= {"models": {"mine": {"kind": "local", "model": str(base)}}}
    settings |= {"roles": {"writer": "mine", "reader": "mine", "judge": "mine"}}
    teacher = type(config.teacher).model_validate(settings)
    teachers = load_teachers(teacher, base, config.base, config.compute, 4, ResponseCache(tmp_path / "calls.db"))
    assert teachers.judge is teachers.writer is not None and teachers.writer.instructed
    settings["models"]["mine"]["model"] = "nowhere/at/all"
    missing = type(config.teacher).model_validate(settings)
    with pytest.raises(UserError, match=r"teacher\.models\.mine\.model is 'nowhere/at/all'"):
        load_teachers(missing, base, config.base, config.compute, 4, ResponseCache(tmp_path / "calls.db"))


def test_a_model_of_the_pipeline_judges(base: Path, config: Config, tmp_path: Path) -> None:
    store = ResponseCache(tmp_path / "calls.db")
    judge = load_judge(config.teacher, config.base, config.compute, 4, store, base)
    assert judge.instructed and judge.name == base.as_posix()
    assert judge.ask(calls(2), "rating") == CachedModel(local(base, config), store, "m", "1", 3).ask(calls(2), "rating")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"roles": {"writer": "nobody", "reader": "embedded", "judge": None}}, "names 'nobody'"),
        ({"budget": 0}, "greater than 0"),
        ({"models": {"embedded": {"kind": "finetuned", "url": "x"}}}, "Extra inputs"),
        ({"models": {"embedded": {"kind": "oracle"}}}, "oracle"),
    ],
)
def test_invalid_teacher_block_is_rejected(config: Config, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        type(config.teacher).model_validate(config.teacher.model_dump() | changes)
