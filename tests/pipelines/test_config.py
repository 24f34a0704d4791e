"""Every key of params.yaml is validated, and every error names the key and the problem."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import config
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT


def test_project_parameters_are_valid() -> None:
    assert config.load(ROOT / "params.yaml").sft.tuning.method == "lora"


FULL: dict[str, Any] = {"method": "full", "options": {}}
BREAKAGES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda values: values["sft"].update(learning_rte=1), r"sft\.learning_rte is not a parameter"),
    (lambda values: values["sft"].pop("epochs"), r"sft\.epochs is missing"),
    (lambda values: values["sft"]["tuning"]["options"].update(r=0), r"sft\.tuning .*r is 0, and must be an integer"),
    (lambda values: values["sft"]["tuning"].update(method="adalora"), "set these instead of r"),
    (lambda values: values["align"]["tuning"].update(FULL), "tuning.method is full, which adds no adapter"),
    (lambda values: values["align"]["tuning"].update(method="bottleneck", options={}), "between adapters of PEFT"),
    (lambda values: values["align"]["tuning"]["options"].update(init_lora_weights="eva"), "only sft and pretrain"),
    (lambda values: values["teacher"]["tuning"].update(FULL), "tuning.method is full, which adds no adapter"),
    (lambda values: values["teacher"]["tuning"].update(method="lily", options={}), "lily, which cannot be merged"),
    (lambda values: values["compute"].update(device="tpu"), r"compute\.device .*'tpu'"),
    (lambda values: values["teacher"]["roles"].update(judge="nobody"), "names 'nobody', which models does not define"),
    (lambda values: values["open_book"].update(prompt="{question}"), r"open_book\.prompt .*contain {passage} and"),
    (lambda values: values["open_book"].update(prompt="{passage} {question} {x}"), "and no other placeholder"),
    (lambda values: values["open_book"].update(prompt="{passage} {question} {"), r"open_book\.prompt "),
    (lambda values: values["teacher"].update(budget=0), r"teacher\.budget .*greater than 0"),
    (lambda values: values["sft"].update(learning_rte=values["sft"].pop("learning_rate")), "mean learning_rate"),
    (lambda values: (values["sft"].update(epoch=1), values["compute"].pop("seed")), r"sft\.epoch is .* mean epochs\?"),
    (
        lambda values: values["teacher"]["models"].update(big={"kind": "local", "modl": "x"}),
        r"models\.big\.modl .* model\?",
    ),
    (
        lambda values: values["sft"].update(zzz=1),
        "zzz is not a parameter; see the config.py of its package for the known ones",
    ),
    (lambda values: values["evaluate"]["models"].update({"x; touch y #": "sft"}), r"evaluate\.models.*x; touch y #"),
    (lambda values: values["evaluate"]["models"].update({"../../x": "sft"}), r"evaluate\.models.*x"),
    (lambda values: values.update(strf={}), "strf is not a parameter"),
    (lambda values: values.pop("dedup"), "dedup is missing"),
]


@pytest.mark.parametrize(("spoil", "complaint"), BREAKAGES)
def test_invalid_parameter_is_named(project: Path, spoil: Callable[[Any], Any], complaint: str) -> None:
    values = yaml.safe_load((project / "params.yaml").read_text())
    spoil(values)
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=complaint) as caught:
        config.load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["sft: [", "", "just words"])
def test_non_mapping_raises_user_error(project: Path, text: str) -> None:
    (project / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml") as caught:
        config.load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\n  b: 2", 2), ("a: 1\n\tb: 1", 2), ("a: 1\n\nb: \x00", 3), ("a: [", 1)]
)
def test_invalid_yaml_is_reported_with_its_line(project: Path, text: str, line: int) -> None:
    (project / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"params\.yaml, line {line}: not YAML"):
        config.load()


def test_missing_params_outside_of_a_project_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run from the project's folder"):
        config.load()


def test_block_is_flattened(project: Path) -> None:
    flat = config.flat(config.load().sft, "sft")
    assert flat["sft.tuning.options.r"] == config.load().sft.tuning.options["r"]
    assert not any(isinstance(value, dict) for value in flat.values())
