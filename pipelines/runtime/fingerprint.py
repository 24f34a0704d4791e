"""Code fingerprint of a stage: a hash of the syntax of every symbol that its program can reach.

A hash of files would make a stage stale for a changed comment. The fingerprint covers the abstract syntax trees,
without comments, docstrings, annotations and progress messages, of the functions, classes and values that
tasks/<stage>.py reaches by name, and of the statements executed by its imports. Names are resolved without regard to
scope, so it may cover more than what runs.

Excluded are pipelines/runtime, which affects no result (logging, locks, errors), and the fields of configuration
blocks, whose values DVC compares. A module imported by a computed name must be given by a parameter (`PLUGINS`).
"""

import ast
import copy
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.runtime.code_modules import Module, Modules, Target
from pipelines.runtime.code_syntax import Normal, anonymous, dump, is_runtime

PACKAGES = ("tasks", "pipelines")
PLUGINS = {
    "rl": ("rl.ppo.reward", "rl.grpo.reward", "alignment.rl.*.options.reward"),
    "clean": ("clean.custom_filter",),
}
"""By stage, the parameters whose value or keys name functions as `package.module:function`; `*` is any key."""
ROUNDS = 4
"""Refinement rounds: the reference distance up to which symbols with equal syntax are distinguished."""


@dataclass(frozen=True)
class Code:
    """The code that a stage runs."""

    digest: str
    """The fingerprint, which is invariant to moving or renaming functions."""
    symbols: dict[str, str]
    """The hash of every symbol, by module and name; import effects of a module are listed under its name."""
    libraries: frozenset[str]
    """The top-level names of imported libraries."""


@dataclass
class Symbol:
    """The hash of the statements that bind a name, and their references in order."""

    hash: str
    refers: list[frozenset[Target]]
    attributes: set[str]
    dynamic: bool


def plugins(parameters: Any) -> dict[str, list[str]]:
    """Return, by stage, the functions that the content of params.yaml names."""
    return {stage: [name for key in keys for name in _functions(parameters, key)] for stage, keys in PLUGINS.items()}


def _functions(parameters: Any, key: str) -> list[str]:
    first, _, rest = key.partition(".")
    if first == "*":
        return [name for value in (parameters or {}).values() for name in _functions(value, rest)]
    value = parameters.get(first) if isinstance(parameters, dict) else None
    if rest:
        return _functions(value, rest)
    named = [value] if isinstance(value, str) else value or ()
    return [name for name in named if isinstance(name, str) and ":" in name]


class Source(Modules):
    """The symbols of the project in `root`, each hashed once."""

    def __init__(self, root: Path = Path()) -> None:
        super().__init__(root)
        self._symbols: dict[tuple[str, str], Symbol] = {}

    def code(self, stage: str, functions: Iterable[str] = ()) -> Code:
        """Return the code that tasks/<stage>.py runs, including the `functions` that its parameters name.

        Raises:
            LookupError: there is no such program, or it imports a module by a computed name that no parameter gives.
        """
        entry = f"tasks.{stage}"
        if self.module(entry) is None:
            raise LookupError(f"there is no tasks/{stage}.py")
        reached = _Reached(self)
        reached.add([Target(entry, "__main__")])
        for function in functions:
            module, _, name = function.partition(":")
            reached.add([Target(module, name)])
        dynamic = sorted(name for name, symbol in reached.symbols.items() if symbol.dynamic)
        if dynamic and stage not in PLUGINS:
            raise LookupError(
                f"{dynamic[0]} imports a module by a computed name, and PLUGINS names no parameter for it"
            )
        return reached.code()

    def symbol(self, module: Module, name: str) -> Symbol:
        """Return a symbol of a module."""
        if (module.name, name) not in self._symbols:
            nodes = {"": module.effects, "__main__": module.main}.get(name) or module.bound.get(name, [])
            self._symbols[module.name, name] = self._read(module, nodes)
        return self._symbols[module.name, name]

    def _read(self, module: Module, nodes: list[ast.AST]) -> Symbol:
        normal = Normal(self, module)
        clean = [kept for node in nodes if (kept := normal.visit(anonymous(copy.deepcopy(node)))) is not None]
        return Symbol(_md5(dump(clean)), normal.refers, normal.attributes, normal.dynamic)


class _Reached:
    """The symbols, modules and libraries reached so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.symbols: dict[str, Symbol] = {}
        self.modules: dict[str, Module] = {}
        self.libraries: set[str] = set()

    def add(self, targets: Iterable[Target]) -> None:
        """Add `targets`, their transitive references, and methods of configuration blocks whose name is used."""
        todo = list(targets)
        while todo:
            while todo:
                todo += self._reach(todo.pop())
            used = set().union(*(symbol.attributes for symbol in self.symbols.values()))
            methods = [(module, name) for module in self.modules.values() for name in module.methods.items()]
            todo = [
                Target(module.name, full)
                for module, (full, name) in methods
                if name in used and f"{module.name}.{full}" not in self.symbols
            ]

    def _reach(self, target: Target) -> Iterator[Target]:
        module = self.source.module(target.module)
        if module is None:
            self.libraries.add(target.module.partition(".")[0])
        elif not is_runtime(module.name):
            yield from self._load(module)
            for name in module.bound if target.name is None else [target.name]:
                yield from self._take(module, name)

    def _load(self, module: Module) -> Iterator[Target]:
        if module.name not in self.modules:
            self.modules[module.name] = module
            parts = module.name.split(".")
            around = {".".join(parts[:end]) for end in range(1, len(parts))}
            yield from (Target(name, "") for name in module.loads | around)

    def _take(self, module: Module, name: str) -> Iterator[Target]:
        full = f"{module.name}.{name}" if name else module.name
        symbol = self.source.symbol(module, name)
        if full not in self.symbols and (symbol.hash != _NOTHING or symbol.refers):
            self.symbols[full] = symbol
            yield from (target for targets in symbol.refers for target in targets)

    def code(self) -> Code:
        """Refine each symbol's hash by the hashes of its references (Weisfeiler-Leman 1968), and combine them."""
        own = {name: symbol.hash for name, symbol in self.symbols.items()}
        deep = own
        for _ in range(ROUNDS):
            deep = {
                name: _md5(repr((deep[name], [_meant(each, deep) for each in symbol.refers])))
                for name, symbol in self.symbols.items()
            }
        return Code(_md5(repr(sorted(deep.values()))), dict(sorted(own.items())), frozenset(self.libraries))


def _meant(targets: frozenset[Target], hashes: dict[str, str]) -> list[str]:
    return sorted(hashes.get(f"{target.module}.{target.name}", "") for target in targets)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_NOTHING = _md5(dump([]))
