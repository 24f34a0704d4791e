"""Code fingerprints: which changes make a stage stale, in small projects and in the product's own code."""

import shutil
import sys
from pathlib import Path
from types import FrameType

import pytest

from pipelines.block import Block
from pipelines.config import Config
from pipelines.data.executor import Executor
from pipelines.runtime import code_lock, fingerprint
from pipelines.runtime.code_syntax import is_runtime
from pipelines.runtime.errors import UserError
from pipelines.runtime.fingerprint import Source
from tasks.clean import clean
from tasks.dedup import dedup
from tasks.ingest import ingest
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PROGRAM = '''
"""A task."""
from pipelines import numbers
from pipelines.runtime.progress import say
from pipelines.config import AddConfig

LIMIT = 3
OTHER = 4


def add(config: AddConfig) -> int:
    """Add."""
    say(f"adds {len(str(LIMIT))}")
    return numbers.double(LIMIT) + config.step


def helper():
    return OTHER


if __name__ == "__main__":
    add(AddConfig())
'''
NUMBERS = """
import os
from pipelines.deep import half


def double(value):
    import pipelines.lazy
    return half(value) * pipelines.lazy.four()


def triple(value):
    return 3 * value


os.environ["NUMBERS"] = "yes"
"""
CONFIG = """
from pydantic import BaseModel


class Block(BaseModel):
    a: int


class AddConfig(Block):
    first: int = 1

    @property
    def step(self):
        return self.first

    @property
    def unused(self):
        return 2
"""
FILES = {
    "tasks/__init__.py": "",
    "tasks/add.py": PROGRAM,
    "pipelines/__init__.py": "",
    "pipelines/numbers.py": NUMBERS,
    "pipelines/deep.py": "HALVES = {1: 2}\nTHIRDS = {1: 3}\n\n\ndef half(value):\n    return HALVES[value]\n",
    "pipelines/lazy.py": "def four():\n    return 4\n",
    "pipelines/runtime/progress.py": "def say(text):\n    print(text)\n",
    "pipelines/config.py": CONFIG,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(root: Path, stage: str = "add") -> str:
    return Source(root).code(stage).digest


def change(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/add.py", '"""Add."""', '"""Add, after Euclid."""\n    # a comment'),
        ("tasks/add.py", '    """Add."""\n', ""),
        ("tasks/add.py", "add(config: AddConfig) -> int", "add(config: object)"),
        ("tasks/add.py", "numbers.double(LIMIT) + config.step", "(\n        numbers.double(LIMIT)\n + config.step)"),
        ("tasks/add.py", 'say(f"adds {len(str(LIMIT))}")', 'say("adds"); say(str(OTHER))'),
        ("tasks/add.py", "return OTHER", "return OTHER + 1"),
        ("pipelines/numbers.py", "3 * value", "value + value + value"),
        ("pipelines/deep.py", "{1: 3}", "{1: 4}"),
        ("pipelines/runtime/progress.py", "print(text)", "print(text, flush=True)"),
        ("pipelines/config.py", "first: int = 1", "first: int = 1\n    second: int = 2"),
        ("pipelines/config.py", "return 2", "return 3"),
    ],
)
def test_change_without_effect_keeps_the_fingerprint(tree: Path, name: str, old: str, new: str) -> None:
    before = digest(tree)
    change(tree, name, old, new)
    assert digest(tree) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/add.py", "LIMIT = 3", "LIMIT = 4"),
        ("tasks/add.py", "+ config.step", "- config.step"),
        ("tasks/add.py", "add(AddConfig())", "add(AddConfig(first=2))"),
        ("tasks/add.py", "numbers.double", "numbers.triple"),
        ("tasks/add.py", 'say(f"adds {len(str(LIMIT))}")', "say(helper())"),
        ("pipelines/numbers.py", '"yes"', '"no"'),
        ("pipelines/deep.py", "1: 2", "1: 3"),
        ("pipelines/lazy.py", "return 4", "return 5"),
        ("pipelines/lazy.py", "def four", "print('imported')\n\n\ndef four"),
        ("pipelines/config.py", "return self.first", "return self.first + 1"),
        ("pipelines/__init__.py", "", "import os\nos.environ['A'] = 'b'\n"),
    ],
)
def test_change_of_executed_code_changes_the_fingerprint(tree: Path, name: str, old: str, new: str) -> None:
    before = digest(tree)
    change(tree, name, old, new)
    assert digest(tree) != before


def test_moved_symbol_keeps_the_fingerprint(tree: Path) -> None:
    before = digest(tree)
    (tree / "pipelines/halves.py").write_text((tree / "pipelines/deep.py").read_text())
    (tree / "pipelines/deep.py").unlink()
    change(tree, "pipelines/numbers.py", "pipelines.deep", "pipelines.halves")
    assert digest(tree) == before


def test_swapped_symbols_change_the_fingerprint(tree: Path) -> None:
    (tree / "pipelines/one.py").write_text("def f():\n    return 1\n\n\ndef g():\n    return 2\n")
    (tree / "pipelines/other.py").write_text("def f():\n    return 3\n\n\ndef g():\n    return 4\n")
    program = (
        "from pipelines.{} import f\nfrom pipelines.{} import f as h\n\nif __name__ == '__main__':\n    f() - h()\n"
    )
    (tree / "tasks/add.py").write_text(program.format("one", "other"))
    before = digest(tree)
    (tree / "tasks/add.py").write_text(program.format("other", "one"))
    assert digest(tree) != before


def test_registered_functions_are_reached(tree: Path) -> None:
    registry = "KNOWN = []\ndef register(f):\n    KNOWN.append(f)\n    return f\n@register\ndef rule():\n    return 1\n"
    (tree / "pipelines/deep.py").write_text(registry + "\n\ndef half(value):\n    return KNOWN[0]()\n")
    before = digest(tree)
    change(tree, "pipelines/deep.py", "return 1", "return 2")
    assert digest(tree) != before


def test_dynamic_import_requires_a_plugin_parameter_which_is_followed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(tree, "pipelines/lazy.py", "return 4", "import importlib\n    return importlib.import_module(str(4))")
    with pytest.raises(LookupError, match=r"pipelines\.lazy\.four imports a module by a computed name"):
        digest(tree)
    monkeypatch.setattr(fingerprint, "PLUGINS", {"add": ("add.judge",)})
    (tree / "mine.py").write_text("BAD = 'bad'\n\n\ndef judge(text):\n    return BAD\n")
    before = Source(tree).code("add", ["mine:judge"]).digest
    change(tree, "mine.py", "BAD = 'bad'", "BAD = 'worse'")
    assert Source(tree).code("add", ["mine:judge"]).digest != before


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in fingerprint.PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


STAGES = sorted(path.stem for path in (ROOT / "tasks").glob("*.py") if path.stem != "__init__")


def digests(root: Path) -> dict[str, str]:
    source = Source(root)
    return {stage: source.code(stage).digest for stage in STAGES}


def test_only_executed_code_of_the_product_counts(copy: Path) -> None:
    before = digests(copy)
    for path in [*copy.rglob("*.py")]:  # a comment in every module, and a docstring
        path.write_text(f"# A comment.\n{path.read_text()}\n\ndef unused_helper() -> int:\n    return 1\n")
    change(
        copy, "pipelines/training/config.py", "class SFTConfig(Block):", "class SFTConfig(Block):\n    another: int\n"
    )
    change(
        copy,
        "pipelines/alignment/rl/config.py",
        "class PPOBlock(RLBlock):",
        "class PPOBlock(RLBlock):\n    another: int\n",
    )
    assert digests(copy) == before
    change(copy, "pipelines/inference/beam_search.py", "1 + len(ends)", "2 + len(ends)")
    after = digests(copy)
    changed = [stage for stage in STAGES if after[stage] != before[stage]]
    assert changed == ["calibrate", "evaluate", "open_book", "test"]


def test_executed_functions_are_in_the_fingerprint(config: Config, tmp_path: Path) -> None:
    """Every function of the product that three tasks actually call is among the symbols of their fingerprints."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event == "call" and module.split(".")[0] in fingerprint.PACKAGES:
            called.add(f"{module}.{frame.f_code.co_qualname.partition('.')[0]}")

    for name in ("ingest", "clean", "dedup"):
        (tmp_path / name).mkdir()
    sys.setprofile(note)
    try:
        ingest(config.ingest.model_copy(update={"source": ROOT / "data/raw"}), tmp_path / "ingest")
        clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Executor())
        dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup, Executor())
    finally:
        sys.setprofile(None)
    source = Source(ROOT)
    known = {name for stage in ("ingest", "clean", "dedup") for name in source.code(stage).symbols}
    ran = {
        name for name in called if not is_runtime(name.rpartition(".")[0]) and not name.endswith((">", "__create_fn__"))
    }
    assert len(ran) > 50 and ran - known == set()


def test_outdated_lock_stops_a_task(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    code_lock.refresh()
    assert "tasks.add.add" in code_lock.check("add")
    change(tree, "tasks/add.py", "LIMIT = 3", "LIMIT = 5")
    with pytest.raises(UserError, match=r"code\.lock\.yaml does not match the current code of add"):
        code_lock.check("add")
    code_lock.refresh()
    code_lock.check("add")


def test_accepted_change_keeps_the_entry_until_the_next_change(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    code_lock.refresh()
    before = code_lock.entries()["add"]
    change(tree, "tasks/add.py", "LIMIT = 3", "LIMIT = 2 + 1")
    code_lock.refresh()
    assert code_lock.entries()["add"] != before
    code_lock.accept("add", before["code"], "2 + 1 is 3")
    code_lock.refresh()
    code_lock.check("add")
    assert code_lock.entries()["add"] == before and "2 + 1 is 3" in code_lock.LOCK.read_text()
    change(tree, "tasks/add.py", "LIMIT = 2 + 1", "LIMIT = 2 + 2")
    code_lock.refresh()
    assert code_lock.entries()["add"]["code"] not in ("", before["code"])
    assert "accepted" not in code_lock.LOCK.read_text()


def test_renamed_symbol_keeps_the_fingerprint_but_a_renamed_method_does_not(tree: Path) -> None:
    before = digest(tree)
    for name in ("pipelines/numbers.py", "tasks/add.py"):
        change(tree, name, "double", "twice")
    change(tree, "tasks/add.py", "LIMIT", "MAXIMUM")
    assert digest(tree) == before
    change(tree, "pipelines/config.py", "step", "stride")
    change(tree, "tasks/add.py", "config.step", "config.stride")
    assert digest(tree) != before


def test_external_plugin_change_and_merge_conflict_are_detected(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    monkeypatch.setattr(fingerprint, "PLUGINS", {"add": ("add.judge",)})
    (tree / "params.yaml").write_text("add: {judge: 'mine:judge'}\n")
    (tree / "mine.py").write_text("def judge(text):\n    return 'bad'\n")
    code_lock.refresh()
    before = code_lock.entries()
    (tree / "mine.py").write_text("def judge(text):\n    return 'worse'\n")
    code_lock.refresh()
    assert code_lock.entries() != before and code_lock.check("add")
    code_lock.LOCK.write_text("<<<<<<< HEAD\nadd: {\n=======\n")
    with pytest.raises(UserError, match="remove it, and `gradus status` generates it again"):
        code_lock.refresh()


def test_configuration_blocks_have_no_defaults() -> None:
    """The fingerprint excludes fields because every value is in params.yaml, so no field may have a default."""
    blocks = [each for block in Block.__subclasses__() for each in (block, *block.__subclasses__())]
    assert len(blocks) > 20
    assert [each.__name__ for each in blocks if any(not one.is_required() for one in each.model_fields.values())] == []
