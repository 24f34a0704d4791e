"""Errors in user-provided files are found before anything starts."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from flows.preflight import check, check_stages, check_versions
from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.runtime.errors import UserError

ROOT = Path(__file__).parents[2]


def test_valid_project_passes_in_any_encoding(real: Path) -> None:
    check()
    for name in ("questions/general.jsonl", "seeds.jsonl", "out_of_domain.jsonl"):
        path = real / "data" / name
        path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-16"))
    path = real / "params.yaml"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-8-sig"))
    check()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("params.yaml", "base: caf\xe9".encode("latin-1"), "params.yaml, line 1: not UTF-8"),
        ("params.yaml", "base: {}".encode("utf-16"), "params.yaml is not UTF-8, which DVC needs"),
        ("data/questions/general.jsonl", b'{"id": 1}', "general.jsonl, line 1: 'question' must be text"),
        (
            "data/questions/answerable.jsonl",
            b'\n{"id": "1", "question": "caf\xe9?"}',
            "answerable.jsonl, line 2: not UTF-8",
        ),
        ("data/seeds.jsonl", b'{"question": "Who?"}', "seeds.jsonl, line 1: 'passage' must be text"),
        ("data/tasks.jsonl", b"[]", "tasks.jsonl, line 1: a JSON object is expected"),
        ("data/out_of_domain.jsonl", b'{"question": ""}', "out_of_domain.jsonl, line 1: 'question' must be text"),
        ("data/own/mine.jsonl", b"{\n}", "mine.jsonl, line 1: not JSON"),
        ("data/prompts/judge.yaml", b"a: [", "judge.yaml, line 1: not YAML"),
        ("data/chatml.jinja", b"\xff", "chatml.jinja, line 1: not UTF-8"),
    ],
)
def test_malformed_user_file_is_reported_before_anything_starts(
    real: Path, file: str, content: bytes, sentence: str
) -> None:
    (real / file).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        check()


def questions(folder: Path, names: tuple[str, ...] = SETS) -> None:
    folder.mkdir(parents=True)
    for name in names:
        rows = [
            {"id": f"{name}-{split}", "question": f"Who, {name} {split}?", "answer": "Drace", "split": split}
            for split in SPLITS
        ]
        artifacts.write_rows(folder / f"{name}.jsonl", rows)


def test_only_evaluation_needs_answerable_questions(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "data/prompts", config.synthesize.prompts)
    check_stages(["split", "curate", "sft"], config)
    assert not capsys.readouterr().err
    check_stages(["split", "evaluate@base"], config)
    assert "models are measured on synthesised ones that training does not see" in capsys.readouterr().err
    recipes = config.synthesize.model_copy(update={"recipes": {"back_translation": 1.0}})
    with pytest.raises(UserError, match=r"none is held back from training"):  # of its long answers
        check_stages(["evaluate@base"], config.model_copy(update={"synthesize": recipes}))
    config = config.model_copy(update={"curate": config.curate.model_copy(update={"calibration_share": 0.0})})
    with pytest.raises(UserError, match=r"answerable\.jsonl has no question .* `gradus run sft`"):
        check_stages(["split", "evaluate@base"], config)
    questions(config.evaluate.questions, SETS[:1])
    check_stages(["split", "evaluate@base"], config)
    assert (
        "has no unanswerable and no general test question: without it no model can be promoted"
        in capsys.readouterr().err
    )


def test_sample_questions_are_rejected_for_other_documents(real: Path) -> None:
    settings = check()
    check_stages(["data_report", "sft"], settings)
    with pytest.raises(UserError, match=r"are the sample's: .*`gradus init data/raw`"):
        check_stages(["evaluate@base"], settings)
    with (
        (real / "data/questions/answerable.jsonl").open("a") as file,
        (real / "data/questions/unanswerable.jsonl").open("a") as other,
    ):
        file.write("\n")
        other.write("\n")
    with pytest.raises(UserError, match="are about other documents"):
        check_stages(["evaluate@base"], settings)
    shutil.copytree(ROOT / "data/raw", real / "data/raw", dirs_exist_ok=True)
    check_stages(["evaluate@base"], settings)


def test_misspelt_source_of_one_question_is_reported_before_anything_starts(config: Config) -> None:
    folder, documents = config.evaluate.questions, config.ingest.source
    folder.mkdir(parents=True)
    documents.mkdir(parents=True)
    (documents / "mill.md").write_text("The mill is old.")
    rows = [{"id": name, "question": f"Who? {name}", "sources": [name]} for name in ("mill.md", "mil.md")]
    artifacts.write_rows(folder / "answerable.jsonl", rows[1:])
    check_stages(["split"], config)  # a question about another corpus is ignored
    artifacts.write_rows(folder / "answerable.jsonl", rows)
    with pytest.raises(UserError, match=r"answerable\.jsonl names the source 'mil\.md', which is not in data/raw"):
        check_stages(["split"], config)


@pytest.mark.parametrize(
    ("policy", "sft", "align", "refused"),
    [
        ("base", "lora", "p_tuning", "align"),
        ("sft", "full", "p_tuning", "align"),
        ("sft", "bottleneck", "p_tuning", "align"),
        ("sft", "lora", "p_tuning", None),
        ("sft", "p_tuning", "lora", None),  # saved as prompt tuning
        ("sft", "trainable_tokens", "lora", "sft"),
        ("align/dpo", "trainable_tokens", "lora", "sft"),
        ("align/dpo", "full", "trainable_tokens", "align"),
        ("align/dpo", "full", "p_tuning", None),
        ("align/dpo", "lora", "trainable_tokens", None),
    ],
)
def test_adapter_that_online_training_cannot_copy_is_refused(
    config: Config, policy: str, sft: str, align: str, refused: str | None
) -> None:
    values, options = config.model_dump(mode="json"), {"trainable_tokens": {"token_indices": [1]}}
    values["align"]["tuning"] = {"method": align, "options": options.get(align, {})}
    values["sft"] |= {"tuning": {"method": sft, "options": options.get(sft, {})}, "adapter_scale": 1.0}
    values["alignment"]["rl"]["ppo"]["policy"] = policy
    settings = Config.model_validate(values)
    check_stages(["align@dpo"], settings)
    message = rf"rl@ppo .* {refused}\.tuning\.method is (p_tuning|trainable_tokens)"
    with pytest.raises(UserError, match=message) if refused else nullcontext():
        check_stages(["rl@ppo"], settings)


@pytest.mark.parametrize(("ranker", "prompt"), [("judge", "compare"), ("score", "rate")])
def test_missing_prompt_of_a_judge_is_reported_before_anything_starts(real: Path, ranker: str, prompt: str) -> None:
    parameters = real / "params.yaml"
    text = parameters.read_text()
    parameters.write_text(text.replace("ranker: reference, scorer: curate", f"ranker: {ranker}, scorer: sft"))
    check()
    (real / f"data/prompts/{prompt}.yaml").unlink()
    with pytest.raises(UserError, match=rf"no prompt file .*{prompt}\.yaml, .* needed by alignment\.pairs\.first"):
        check()


def test_folders_that_may_be_empty_are_created(real: Path) -> None:
    for name in ("own", "mixture", "preferences", "questions"):
        shutil.rmtree(real / "data" / name)
    check()
    assert all((real / "data" / name).is_dir() for name in ("own", "mixture", "preferences/reference", "questions"))


def test_version_mismatch_is_reported_with_install_command(real: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", real)
    check_versions()
    text = (real / "pyproject.toml").read_text()
    (real / "pyproject.toml").write_text(re.sub(r'^(numpy|trl) = ".*"', r'\1 = "0.1"', text, flags=re.M))
    with pytest.raises(UserError, match=r"numpy [\d.]+ instead of 0\.1, trl .* -m pip install numpy==0\.1 trl==0\.1`"):
        check()


def test_without_a_writer_conversations_are_required(config: Config) -> None:
    values = config.model_dump(mode="json")
    values["teacher"]["roles"] = {"writer": None, "reader": None, "judge": None}
    silent = Config.model_validate(values)
    assert not silent.teacher.finetunes and not silent.writes_questions
    check_stages(["split"], silent)
    with pytest.raises(UserError, match="data/own holds no conversation"):
        check_stages(["curate"], silent)
    config.curate.user_data.mkdir(parents=True)
    chat = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Plum."}]
    artifacts.write_rows(config.curate.user_data / "mine.jsonl", [{"messages": chat}])
    check_stages(["curate"], silent)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "custom_filter: null",
            "custom_filter: own_rules:unfriendly",
            "clean.custom_filter: the module",
        ),
        ("reward: {model: 1.0}", "reward: {rules:price: 1.0}", "alignment.rl.ppo: 'rules:price' names no function"),
        ("custom_filter: null", "custom_filter: os:nope", "clean.custom_filter: 'os:nope' names no function"),
        ("custom_filter: null", "custom_filter: ':unfriendly'", "clean.custom_filter"),
        ("reward: {model: 1.0}", "reward: {rules:score: 1.0}", None),
        ("reward: {model: 1.0}", "reward: {math:fsum: 1.0}", None),
    ],
)
def test_missing_function_is_reported_before_anything_starts(
    real: Path, old: str, new: str, sentence: str | None
) -> None:
    (real / "rules.py").write_text("import a_library_of_the_stage\n\ndef score(prompts, answers, references): ...\n")
    parameters = real / "params.yaml"
    parameters.write_text(parameters.read_text().replace(old, new))
    if sentence is None:
        check()
        return
    with pytest.raises(UserError, match=re.escape(sentence)):
        check()
