"""Modules as the fingerprint reads them: statements by the name that they bind, aliases, and effects of importing."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = "Block"
"""The base class of configuration blocks."""
_INERT = {"dataclass", "contextmanager", "cache", "lru_cache", "cached_property", "property", "overload"} | {
    *("staticmethod", "classmethod", "inference_mode", "no_grad", "field_validator", "model_validator")
}
"""Decorators that register nothing: what they decorate runs only when it is named."""


@dataclass(frozen=True)
class Target:
    """A symbol of a module; without a name all of them, with an empty one what importing the module executes."""

    module: str
    name: str | None = None


@dataclass
class Module:
    """A parsed module: its statements by the name that they bind, and those that act when it is imported."""

    name: str
    bound: dict[str, list[ast.AST]] = field(default_factory=dict)
    effects: list[ast.AST] = field(default_factory=list)
    main: list[ast.AST] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    """Methods of configuration blocks, `Block.method`, by the name of the method alone."""
    aliases: dict[str, set[Target]] = field(default_factory=dict)
    loads: set[str] = field(default_factory=set)
    """The modules that importing it imports."""


class Modules:
    """The modules of the project in `root`, each parsed once."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return the project's module `name`; None for what is none."""
        if name not in self._modules:
            path = self._file(name)
            self._modules[name] = None if path is None else parse(name, path)
        return self._modules[name]

    def files(self) -> list[Path]:
        """Return the files of the modules that were parsed."""
        return [path for name, module in self._modules.items() if module and (path := self._file(name))]

    def _file(self, name: str) -> Path | None:
        path = self.root / name.replace(".", "/")
        return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)

    def resolve(self, module: Module, chain: list[str]) -> Iterator[tuple[Target, int]]:
        """Yield what `a.b.c`, read in a module, may mean, and how many of its parts name that: `a.b` of `a.b.c`, 2."""
        if chain[0] in module.bound:
            yield Target(module.name, chain[0]), 1
        for target in module.aliases.get(chain[0], ()):
            yield self._follow(target, chain, 1)

    def _follow(self, target: Target, chain: list[str], used: int) -> tuple[Target, int]:
        place = f"{target.module}.{target.name}" if target.name else target.module
        while used < len(chain) and self.module(f"{place}.{chain[used]}") is not None:
            place, used = f"{place}.{chain[used]}", used + 1
        if self.module(place) is not None:  # the chain leads to a module, and may go on with a symbol of it
            return (Target(place, chain[used]), used + 1) if used < len(chain) else (Target(place), used)
        owner = self.module(target.module)
        if owner is not None and target.name not in owner.bound:
            for further in owner.aliases.get(str(target.name), ()):  # what the owner itself imported
                return self._follow(further, chain, used)
        return target, used

    def defines(self, target: Target) -> bool:
        """Tell whether a target is a symbol of the project."""
        module = self.module(target.module)
        return module is not None and target.name in module.bound


def parse(name: str, path: Path) -> Module:
    """Read the module `name` from its file."""
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
    """Put a statement of a module where it belongs."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module.loads.update(imported(node))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == BLOCK for b in node.bases):
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
    """Return the modules, or what may be modules, that an import names."""
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
    """Return `[a, b, c]` for `a.b.c` that is read, and nothing for another expression."""
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
    """Tell whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
