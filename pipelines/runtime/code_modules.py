"""Parsed modules for the code fingerprint: statements by the name they bind, import aliases, and import effects."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = "Block"
"""The base class of configuration blocks, and the end of the names of blocks that others derive from."""
_INERT = {"dataclass", "contextmanager", "cache", "lru_cache", "cached_property", "property", "overload"} | {
    *("staticmethod", "classmethod", "inference_mode", "no_grad", "field_validator", "model_validator")
}
"""Decorators without side effects: the decorated function runs only when it is referenced."""


@dataclass(frozen=True)
class Target:
    """A symbol of a module. The name None means all symbols, and an empty name the module's import effects."""

    module: str
    name: str | None = None


@dataclass
class Module:
    """A parsed module: its statements by the name they bind, and those that have effects on import."""

    name: str
    bound: dict[str, list[ast.AST]] = field(default_factory=dict)
    effects: list[ast.AST] = field(default_factory=list)
    main: list[ast.AST] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    """Methods of configuration blocks: the method name by `Block.method`."""
    aliases: dict[str, set[Target]] = field(default_factory=dict)
    loads: set[str] = field(default_factory=set)
    """The modules that are imported with this one."""


class Modules:
    """The modules of the project in `root`, each parsed once."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return the project's module `name`; None if it is not one of the project's."""
        if name not in self._modules:
            path = self._file(name)
            self._modules[name] = None if path is None else parse(name, path)
        return self._modules[name]

    def files(self) -> list[Path]:
        """Return the files of the parsed modules."""
        return [path for name, module in self._modules.items() if module and (path := self._file(name))]

    def _file(self, name: str) -> Path | None:
        path = self.root / name.replace(".", "/")
        return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)

    def resolve(self, module: Module, chain: list[str]) -> Iterator[tuple[Target, int]]:
        """Yield the possible targets of a chain `a.b.c`, with the number of parts that name each (2 for `a.b`)."""
        if chain[0] in module.bound:
            yield Target(module.name, chain[0]), 1
        for target in module.aliases.get(chain[0], ()):
            yield self._follow(target, chain, 1)

    def _follow(self, target: Target, chain: list[str], used: int) -> tuple[Target, int]:
        place = f"{target.module}.{target.name}" if target.name else target.module
        while used < len(chain) and self.module(f"{place}.{chain[used]}") is not None:
            place, used = f"{place}.{chain[used]}", used + 1
        if self.module(place) is not None:  # the chain leads to a module, perhaps followed by one of its symbols
            return (Target(place, chain[used]), used + 1) if used < len(chain) else (Target(place), used)
        owner = self.module(target.module)
        if owner is not None and target.name not in owner.bound:
            for further in owner.aliases.get(str(target.name), ()):  # imported by the owner itself
                return self._follow(further, chain, used)
        return target, used

    def defines(self, target: Target) -> bool:
        """Return whether a target is a symbol of the project."""
        module = self.module(target.module)
        return module is not None and target.name in module.bound


def parse(name: str, path: Path) -> Module:
    """Parse the module `name` from its file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = Module(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for bound, target in _bindings(node):
                module.aliases.setdefault(bound, set()).add(target)
    for statement in tree.body:
        _sort(module, statement)
    return module


def _sort(module: Module, node: ast.stmt) -> None:
    """Classify a top-level statement of a module."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module.loads.update(imported(node))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id.endswith(BLOCK) for b in node.bases):
            for each in node.body:
                if isinstance(each, ast.FunctionDef):
                    module.bound[f"{node.name}.{each.name}"] = [each]
                    module.methods[f"{node.name}.{each.name}"] = each.name
            return
        module.bound.setdefault(node.name, []).append(node)
        if any(last_name(decorator) not in _INERT for decorator in node.decorator_list):
            module.effects.append(node)
    elif isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
        return
    elif isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}:
        module.main += node.body
    elif not is_text(node):
        names = _names(node)
        for bound in names:
            module.bound.setdefault(bound, []).append(node)
        if not names or not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            module.effects.append(node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                module.loads.update(imported(inner))


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds."""
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return stored | defined


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the names in an import that are, or may be, modules."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)} if node.level == 0 else set()


def _bindings(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, Target(str(node.module), alias.name)
        elif alias.asname:
            yield alias.asname, Target(alias.name)
        else:
            yield alias.name.partition(".")[0], Target(alias.name.partition(".")[0])


def chain_of(node: ast.AST) -> list[str]:
    """Return `[a, b, c]` for a reference `a.b.c`, and an empty list for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store) else []


def last_name(node: ast.AST) -> str:
    """Return `c` for `a.b.c` and for `a.b.c(…)`."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_text(node: ast.AST) -> bool:
    """Return whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
