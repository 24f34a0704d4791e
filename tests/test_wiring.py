"""Consistency of the source tree: graph, parameters, layers, names and versions.

Each check takes a project root and returns the violations, so that it is also tested on broken copies.
"""

import ast
import logging
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.runtime.code_modules import chain_of
from pipelines.runtime.fingerprint import Source, plugins

ROOT = Path(__file__).parent.parent
LAYERS = ("flows", "tasks", "pipelines")
FOR_FLOWS = {
    "runtime",
    "artifacts",
    "inference.chat_model",
    "config",
    "block",
    "alignment.rows",
    "text.encoding",
    "models.release.registration",
    "models.release.registry",
    "models.lookup",
    "models.task_adapters.store",
    "evaluation.questions",
    "evaluation.in_training",
    "training.config",
    "evaluation.metrics",
    "evaluation.comparison",
    "evaluation.gate",
    "evaluation.statistics",
    "evaluation.question_sketch",
    "evaluation.scoring",
    "evaluation.retrieval.support",
    "evaluation.confidence",
    "evaluation.report",
    "curation.user_data",
    "data.crawl",
    "models.messages",
    "user_files",
    "user_functions",
    "curation.card",
    "curation.drafting.files",
    "synthesis.candidate",
    "formats",
    "llm.prompts",
    "llm.cache",
    "llm.calls",
}
"""Modules and packages of pipelines/ that flows may import, because they need no compute library."""
PACKAGES = (
    *("runtime", "text", "models", "inference", "llm", "formats", "data"),
    *("evaluation", "synthesis", "curation", "training", "alignment"),
)
"""Packages of pipelines/ in import order; each may import only earlier ones."""
MODULES = 15
"""Maximum number of modules per folder."""
UNTRACKED = {"data"}  # blocks that change no result
PARAMETER = re.compile(r"\$\{([\w.]+)\}")


def stages(root: Path) -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml; those of `foreach` entries have the keys of their `do` block."""
    entries = yaml.safe_load((root / "dvc.yaml").read_text())["stages"] or {}
    return {name: entry | entry.get("do", {}) for name, entry in entries.items()}


def parameters(root: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text())
    return values


def file_of(root: Path, module: str) -> Path | None:
    """Return the file of a project module, or None for a name in a module or a third-party module."""
    path = root / module.replace(".", "/")
    found = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    return found[0] if found and module.split(".")[0] in LAYERS else None


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, also inside functions, and their parent packages."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}


def no_stages(root: Path) -> list[str]:
    return [] if stages(root) else ["dvc.yaml has no stages"]


def missing_code(root: Path) -> list[str]:
    """Check that each stage depends on its entry of code.lock.yaml and on no Python file."""
    wrong = []
    for name, entry in stages(root).items():
        if name not in listed(entry, "code.lock.yaml"):
            wrong.append(f"{name} does not depend on its code")
        wrong += [f"{name} depends on the file {dep}" for dep in entry["deps"] if dep.endswith(".py")]
    return wrong


def stale_lock(root: Path) -> list[str]:
    lock, source = yaml.safe_load((root / "code.lock.yaml").read_text()), Source(root)
    functions = plugins(parameters(root))
    return [
        f"the code of {name} is not what code.lock.yaml says"
        for name in stages(root)
        if source.code(name, functions.get(name, ())).digest != lock.get("accepted", {}).get(name, lock[name])["code"]
    ]


def listed(entry: dict[str, Any], file: str) -> list[str]:
    """Return the keys of the parameter file `file` that a stage, or an item of its `foreach`, depends on."""
    if file == "params.yaml":
        keys = [key for key in entry.get("params", []) if isinstance(key, str)]
        items = entry["foreach"].values() if isinstance(entry.get("foreach"), dict) else []
        named = {f"${{item.{name}}}": [each[name] for each in items] for item in items for name in item}
        return [found for key in keys for found in named.get(key, [key])]
    return [key for other in entry.get("params", []) if isinstance(other, dict) for key in other.get(file, [])]


def has(values: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def unknown_parameters(root: Path) -> list[str]:
    known, project = parameters(root), tomllib.loads((root / "pyproject.toml").read_text())
    text = (root / "dvc.yaml").read_text()
    asked = [("params.yaml", known, key) for key in PARAMETER.findall(text) if key.split(".")[0] not in ("item", "key")]
    for entry in stages(root).values():
        asked += [("params.yaml", known, key.split(".${")[0]) for key in listed(entry, "params.yaml")]
        asked += [("pyproject.toml", project, key) for key in listed(entry, "pyproject.toml")]
    return sorted({f"{file} has no {key}" for file, values, key in asked if not has(values, key)})


def used_parameters(root: Path, stage: str) -> set[str]:
    """Return the parameters that a program reads: `x.y` of `t.config.x.y`, `settings.x.y` or a typed `config.y`.

    A function's parameter is a block if its type is that of the block in pipelines/config.py.
    """
    known = {key: value for key, value in parameters(root).items() if key not in UNTRACKED}
    fields = re.findall(r"^    (\w+): (\w+)$", (root / "pipelines/config.py").read_text(), re.MULTILINE)
    prefixes = {"Config": []} | {type_: [block] for block, type_ in fields}
    tree = ast.parse((root / f"tasks/{stage}.py").read_text())
    scopes: list[tuple[ast.AST, dict[str, list[str]]]] = [(tree, {"t": []})]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            types = {arg.arg: ast.unparse(arg.annotation) for arg in node.args.args if arg.annotation}
            scopes.append((node, {name: prefixes[type_] for name, type_ in types.items() if type_ in prefixes}))
    used = set()
    for scope, names in scopes:
        for chain in map(chain_of, ast.walk(scope)):
            if chain and chain[0] in names:
                path = names[chain[0]] + chain[2 if chain[0] == "t" else 1 :]
                used |= {key for end in range(1, len(path) + 1) if has(known, key := ".".join(path[:end]))}
    return used


def missing_parameters(root: Path) -> list[str]:
    """Check that a stage depends on each parameter that its program reads, or on some of a block that it passes on."""
    wrong = []
    for name, entry in stages(root).items():
        keys = [*listed(entry, "params.yaml"), *PARAMETER.findall(f"{entry.get('foreach')} {entry['deps']}")]
        wrong += [
            f"{name} reads {used} and does not depend on it"
            for used in sorted(used_parameters(root, name))
            if not any(f"{used}.".startswith(f"{key}.") or key.startswith(f"{used}.") for key in keys)
        ]
    return wrong


def missing_data(root: Path) -> list[str]:
    """Check that files named by a stage's parameters are among its dependencies."""
    known = parameters(root)
    wrong = []
    for name, entry in stages(root).items():
        deps = {PARAMETER.sub(lambda key: str(_value(known, key[1])), dep) for dep in entry["deps"]}
        for key in listed(entry, "params.yaml"):
            named = [text for text in _texts(_value(known, key.split(".${")[0])) if "/" in text]
            wrong += [
                f"{name} reads {text} and does not depend on it"
                for text in named
                if (root / text).exists() and not any(dep == text or dep.startswith(f"{text}/") for dep in deps)
            ]
    return wrong


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def upward_imports(root: Path) -> list[str]:
    forbidden = {
        "pipelines": lambda name, _: name.split(".")[0] in ("prefect", "dvc", "tasks", "flows"),
        "tasks": lambda name, _: name.split(".")[0] in ("prefect", "dvc", "flows"),
        "flows": lambda name, path: name.split(".")[0] == "tasks" or not _open_to_flows(root, name),
    }
    wrong = []
    for layer, refuses in forbidden.items():
        for path in sorted((root / layer).rglob("*.py")):
            wrong += [
                f"{path.relative_to(root)} imports {name}" for name in sorted(imports(path)) if refuses(name, path)
            ]
            if "mlflow" in imports(path) and path.stem not in ("tracking", "tracking_store"):
                wrong.append(f"{path.relative_to(root)} imports mlflow")
    return wrong


def _open_to_flows(root: Path, name: str) -> bool:
    """Return whether a flow may import `name`: in pipelines/, only modules without a compute library."""
    if not name.startswith("pipelines.") or file_of(root, name) is None:
        return True
    inner = name.removeprefix("pipelines.")
    if inner.endswith(".config"):  # blocks of params.yaml
        return True
    return any(f"{inner}.".startswith(f"{each}.") or each.startswith(f"{inner}.") for each in FOR_FLOWS)


def package_order(root: Path) -> list[str]:
    """Check that packages of pipelines/ import only earlier ones in `PACKAGES`, so that there is no cycle."""
    packages = {path.parent.name for path in (root / "pipelines").glob("*/__init__.py")}
    wrong = [f"pipelines/{name} has no place in the order of packages" for name in sorted(packages ^ set(PACKAGES))]
    for place, package in enumerate(PACKAGES):
        for path in sorted((root / "pipelines" / package).rglob("*.py")):
            used = {
                name.split(".")[1] for name in imports(path) if name.count(".") > 1 and name.startswith("pipelines.")
            }
            wrong += [
                f"{path.relative_to(root)} imports {other}, which comes later"
                for other in used & set(PACKAGES[place + 1 :])
            ]
    return wrong


def crowded_folders(root: Path) -> list[str]:
    layers = (root / "flows", root / "pipelines")  # tasks/ has one module per stage
    folders = [each for layer in layers for each in (layer, *layer.rglob("*")) if each.is_dir()]
    counts = {each: len([path for path in each.glob("*.py") if path.name != "__init__.py"]) for each in folders}
    return [f"{each.relative_to(root)} has {count} modules" for each, count in counts.items() if count > MODULES]


def hidden_inputs(root: Path) -> list[str]:
    """Check that only modules that do not affect results read environment variables."""
    allowed = {
        "pipelines/__init__.py",
        "pipelines/runtime/environment.py",
        "pipelines/runtime/liveness.py",
        "pipelines/artifacts.py",
        "pipelines/runtime/progress.py",
        "pipelines/runtime/store_location.py",
        "pipelines/runtime/tracking.py",
        "pipelines/runtime/tracking_store.py",
        "pipelines/llm/connection.py",
    }
    found = []
    for path in sorted([*(root / "tasks").rglob("*.py"), *(root / "pipelines").rglob("*.py")]):
        reads = re.search(r"os\.getenv|os\.environ(?!\.setdefault)", path.read_text())
        if reads and path.relative_to(root).as_posix() not in allowed:
            found.append(f"{path.relative_to(root)} reads the environment")
    return found


def different_names(root: Path) -> list[str]:
    """Check that program, block, config class, stage and output directory have the same name."""
    programs = {path.stem for path in (root / "tasks").glob("*.py")} - {"__init__"}
    entries = stages(root)
    config = (root / "pipelines/config.py").read_text()
    blocks = set(parameters(root)) - {"alignment", "compute", "training"} - UNTRACKED
    wrong = [
        f"{name} is a task or stage or block, and not all of them"
        for name in sorted((programs ^ set(entries)) | (programs ^ blocks))
    ]
    for name, entry in entries.items():
        if not entry["cmd"].startswith(f"python -m tasks.{name}"):
            wrong.append(f"{name} runs {entry['cmd']}")
        if not all(
            re.match(
                rf"(artifacts/{name}(/|$)|artifacts/reports/{name}(@.*)?\.(html|md)$|runs/{name}(@.*)?\.json$)", out
            )
            for out in entry["outs"]
        ):
            wrong.append(f"{name} writes {entry['outs']}")
        if not re.search(rf"^    {name}: (\w+)$", config, re.MULTILINE):
            wrong.append(f"pipelines/config.py has no {name}")
    return wrong


def different_versions(root: Path) -> list[str]:
    versions = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["gradus"]["versions"]
    lines = (line for line in (root / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    return [
        f"{name} is {version} in pyproject.toml and {pinned.get(name)} in constraints.txt"
        for name, version in versions.items()
        if pinned.get(name) != version
    ]


def untracked_versions(root: Path) -> list[str]:
    """Check that each version is a dependency of a stage, through its code or by name."""
    versions = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["gradus"]["versions"]
    lock = yaml.safe_load((root / "code.lock.yaml").read_text())
    tracked = {name for entry in lock.values() for name in entry.get("libraries", ())}
    tracked |= {key.split(".")[-1] for entry in stages(root).values() for key in listed(entry, "pyproject.toml")}
    return [f"no stage depends on the version of {name}" for name in versions if name not in tracked]


CHECKS: list[Callable[[Path], list[str]]] = [
    no_stages,
    missing_code,
    stale_lock,
    unknown_parameters,
    missing_parameters,
    missing_data,
    upward_imports,
    package_order,
    crowded_folders,
    hidden_inputs,
    different_names,
    different_versions,
    untracked_versions,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_source_tree_has_no_violations(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that the checks read, for breaking."""
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, tmp_path / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("code.lock.yaml", "dvc.yaml", "params.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "data", tmp_path / "data")
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}\n")


BREAKAGES: list[tuple[Callable[[Path], list[str]], Callable[[Path], object], str]] = [
    (no_stages, lambda root: (root / "dvc.yaml").write_text("stages: {}\n"), "no stages"),
    (missing_code, lambda root: replace(root / "dvc.yaml", "code.lock.yaml: [sft]", "code.lock.yaml: [clean]"), "sft"),
    (
        missing_code,
        lambda root: replace(root / "dvc.yaml", "deps: [artifacts/clean]", "deps: [a.py]"),
        "a.py",
    ),
    (stale_lock, lambda root: replace(root / "pipelines/inference/batching.py", '="left"', '="right"'), "evaluate"),
    (unknown_parameters, lambda root: replace(root / "dvc.yaml", "[clean, {", "[cleaning, {"), "cleaning"),
    (
        unknown_parameters,
        lambda root: replace(root / "dvc.yaml", "${teacher.seeds}", "${teacher.seed}"),
        "teacher.seed",
    ),
    (
        missing_parameters,
        lambda root: replace(root / "dvc.yaml", "[dedup, {", "[split, {"),
        "dedup reads dedup",
    ),
    (
        missing_parameters,
        lambda root: replace(root / "dvc.yaml", "evaluate.bits_per_byte_tokens, ", ""),
        "evaluate reads evaluate.bits_per_byte_tokens",
    ),
    (
        missing_data,
        lambda root: replace(root / "dvc.yaml", "[data/chatml.jinja]", "[data/raw]"),
        "data/chatml.jinja",
    ),
    (upward_imports, lambda root: append(root / "pipelines/runtime/errors.py", "import tasks.sft"), "imports tasks"),
    (upward_imports, lambda root: append(root / "tasks/sft.py", "from dvc.repo import Repo"), "imports dvc"),
    (
        upward_imports,
        lambda root: append(root / "flows/dag/graph.py", "from pipelines.models import loading"),
        "pipelines.models.loading",
    ),
    (
        upward_imports,
        lambda root: append(root / "flows/dag/graph.py", "def f(): from tasks import sft"),
        "imports tasks",
    ),
    (
        upward_imports,
        lambda root: append(root / "pipelines/models/release/registry.py", "import mlflow"),
        "imports mlflow",
    ),
    (
        package_order,
        lambda root: append(root / "pipelines/text/words.py", "def f(): from pipelines.data import documents"),
        "imports data, which comes later",
    ),
    (package_order, lambda root: (root / "pipelines/text").rename(root / "pipelines/words"), "no place"),
    (
        crowded_folders,
        lambda root: [(root / f"pipelines/text/{number}.py").write_text("") for number in range(9)],
        "pipelines/text has",
    ),
    (
        hidden_inputs,
        lambda root: append(root / "tasks/sft.py", "import os\n\nRATE = os.environ['RATE']"),
        "tasks/sft.py reads",
    ),
    (
        different_names,
        lambda root: replace(root / "dvc.yaml", "[artifacts/clean, runs", "[artifacts/cleaned, runs"),
        "cleaned",
    ),
    (different_names, lambda root: (root / "tasks/polish.py").write_text(""), "polish"),
    (different_versions, lambda root: replace(root / "constraints.txt", "\ntrl==", "\ntrl==0."), "trl"),
    (
        untracked_versions,
        lambda root: replace(root / "pyproject.toml", "\nscipy = ", '\nrich = "15.0.0"\nscipy = '),
        "rich",
    ),
]


@pytest.mark.parametrize(("check", "spoil", "named"), BREAKAGES, ids=lambda value: getattr(value, "__name__", None))
def test_violation_is_detected(
    copy: Path, check: Callable[[Path], list[str]], spoil: Callable[[Path], object], named: str
) -> None:
    spoil(copy)
    assert any(named in wrong for wrong in check(copy))


@pytest.mark.slow
def test_importing_tasks_disables_telemetry() -> None:
    names = ["DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"]
    program = f"import os, tasks; print([os.environ[name] for name in {names}])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "['true', 'true', 'false', '1']"
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()


def printed(code: str) -> str:
    """Run Python in the project's folder and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_run_shows_only_errors_of_mlflow() -> None:
    """MLflow reads its log level when it is imported, by whichever module is first."""
    assert int(printed("import logging, flows.post_train; print(logging.getLogger('mlflow').level)")) == logging.ERROR


@pytest.mark.slow
def test_a_run_with_nothing_to_do_imports_no_compute_library() -> None:
    """Each takes a second or more of every `gradus run`."""
    code = "import sys, flows.cli, flows.post_train, flows.run.summary; print(*sorted(sys.modules))"
    loaded = set(printed(code).split())
    assert "mlflow" in loaded and not {"torch", "transformers", "matplotlib", "datasets", "lm_eval"} & loaded
