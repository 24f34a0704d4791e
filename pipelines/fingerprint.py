"""The fingerprint of the code that a stage runs: the syntax of every symbol that its program can reach.

A hash of files calls a stage stale for a comment. This one covers the abstract syntax tree, without comments,
docstrings, annotations and progress messages, of the functions, classes and values that tasks/<stage>.py reaches by
name, and of what its imports execute. Names are resolved without regard to scope, so it may cover more than what runs.

Left out are the `NEUTRAL` modules, which change no result (logging, locks, errors), and the fields of configuration
blocks, whose values DVC compares. A module imported by a computed name must be named by a parameter (`PLUGINS`).
"""

import ast
import copy
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("tasks", "pipelines")
_LOGGING = ("alive", "code_lock", "curve", "environment", "errors", "fingerprint", "outages", "page", "progress")
NEUTRAL = frozenset({"tasks", *(f"pipelines.{name}" for name in (*_LOGGING, "store_location", "tracking"))})
"""Modules that change no result."""
PLUGINS = {"clean": "clean.judge"}
"""The parameter of a stage that names a function as `package.module:function`."""
SYMBOL = "symbol"
"""What stands in the syntax for the name of a symbol of the project, so that renaming it changes nothing."""
ROUNDS = 4
"""How far away a symbol is told from another with the same syntax by what it refers to."""
BLOCK = "Block"
"""The base class of configuration blocks."""
_INERT = {"dataclass", "contextmanager", "cache", "lru_cache", "cached_property", "property", "overload"} | {
    *("staticmethod", "classmethod", "inference_mode", "no_grad", "field_validator", "model_validator")
}
"""Decorators that register nothing: what they decorate runs only when it is named."""
_PURE = {
    "len",
    "sum",
    "round",
    "str",
    "int",
    "float",
    "min",
    "max",
    "sorted",
    "join",
    "format",
    "list",
    "items",
    "keys",
}
"""Calls that a progress message may make and still be left out."""
_DYNAMIC = frozenset({"import_module", "__import__", "run_module", "spec_from_file_location"})
_DECLARING = frozenset({"ClassVar", "InitVar", "KW_ONLY", "Literal"})
"""Names in an annotation that change what a class does."""


@dataclass(frozen=True)
class Code:
    """What a stage runs."""

    digest: str
    """The hash of it all. Moving or renaming a function does not change it."""
    symbols: dict[str, str]
    """The hash of every symbol, by module and name; of what importing a module executes, by the module."""
    libraries: frozenset[str]
    """The top-level names of what is imported from elsewhere."""


@dataclass(frozen=True)
class Target:
    """A symbol of a module; without a name all of them, with an empty one what importing the module executes."""

    module: str
    name: str | None = None


@dataclass
class Symbol:
    """Statements that bind one name, their hash, and what they refer to, in order."""

    hash: str
    refers: list[frozenset[Target]]
    attributes: set[str]
    dynamic: bool


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


class Source:
    """The modules of the project in `root`, each parsed once."""

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}
        self._symbols: dict[tuple[str, str], Symbol] = {}

    def code(self, stage: str, plugin: str | None = None) -> Code:
        """Return what tasks/<stage>.py runs, together with the function `plugin` that a parameter names.

        Raises:
            LookupError: there is no such program, or a module is imported by a name that no parameter gives.
        """
        entry = f"tasks.{stage}"
        if self.module(entry) is None:
            raise LookupError(f"there is no tasks/{stage}.py")
        reached = _Reached(self)
        reached.add([Target(entry, "__main__")])
        if plugin is not None:
            module, _, name = plugin.partition(":")
            reached.add([Target(module, name)])
        dynamic = sorted(name for name, symbol in reached.symbols.items() if symbol.dynamic)
        if dynamic and stage not in PLUGINS:
            raise LookupError(
                f"{dynamic[0]} imports a module by a computed name, and PLUGINS names no parameter for it"
            )
        return reached.code()

    def module(self, name: str) -> Module | None:
        """Return the project's module `name`; None for what is none."""
        if name not in self._modules:
            path = self.root / name.replace(".", "/")
            files = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
            self._modules[name] = _parse(name, files[0]) if files else None
        return self._modules[name]

    def symbol(self, module: Module, name: str) -> Symbol:
        """Return a symbol of a module."""
        if (module.name, name) not in self._symbols:
            nodes = {"": module.effects, "__main__": module.main}.get(name) or module.bound.get(name, [])
            self._symbols[module.name, name] = self._read(module, nodes)
        return self._symbols[module.name, name]

    def _read(self, module: Module, nodes: list[ast.AST]) -> Symbol:
        normal = _Normal(self, module)
        clean = [kept for node in nodes if (kept := normal.visit(_anonymous(copy.deepcopy(node)))) is not None]
        return Symbol(_md5(_dump(clean)), normal.refers, normal.attributes, normal.dynamic)

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


class _Reached:
    """What is reached so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.symbols: dict[str, Symbol] = {}
        self.modules: dict[str, Module] = {}
        self.libraries: set[str] = set()

    def add(self, targets: Iterable[Target]) -> None:
        """Reach `targets`, all that they need, and the methods of configuration blocks that go by a name they use."""
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
        elif module.name not in NEUTRAL:
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
        """Refine the hash of each symbol by those it refers to (Weisfeiler and Leman 1968), and hash them all."""
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


def _parse(name: str, path: Path) -> Module:
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
        module.loads.update(_imported(node))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == BLOCK for b in node.bases):
            for each in node.body:
                if isinstance(each, ast.FunctionDef):
                    module.bound[f"{node.name}.{each.name}"] = [each]
                    module.methods[f"{node.name}.{each.name}"] = each.name
            return
        module.bound.setdefault(node.name, []).append(node)
        if any(_last(decorator) not in _INERT for decorator in node.decorator_list):
            module.effects.append(node)
    elif isinstance(node, ast.If) and _last(node.test) == "TYPE_CHECKING":
        return
    elif isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}:
        module.main += node.body
    elif not _is_text(node):
        names = _names(node)
        for bound in names:
            module.bound.setdefault(bound, []).append(node)
        if not names or not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            module.effects.append(node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                module.loads.update(_imported(inner))


def _anonymous(node: ast.AST) -> ast.AST:
    """Take away the name that a statement gives to a symbol."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node.name = SYMBOL
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Name):
            target.id = SYMBOL
    return node


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds."""
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return stored | defined


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
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


def _chain(node: ast.AST) -> list[str]:
    """Return `[a, b, c]` for `a.b.c` that is read, and nothing for another expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store) else []


def _last(node: ast.AST) -> str:
    """Return `c` for `a.b.c` and for `a.b.c(…)`."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _imports(call: ast.Call) -> bool:
    """Whether a call imports a module by a name that is computed."""
    return _last(call) in _DYNAMIC and not all(isinstance(each, ast.Constant) for each in call.args)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Normal(ast.NodeTransformer):
    """Removes what changes no result (docstrings, annotations, messages, names of symbols), and notes what is used."""

    def __init__(self, source: Source, module: Module) -> None:
        self.source, self.module = source, module
        self.refers: list[frozenset[Target]] = []
        self.attributes: set[str] = set()
        self.dynamic = False

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._referring(node) if isinstance(node.ctx, ast.Load) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.attributes.add(node.attr)
        return self._referring(node) if _chain(node) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.dynamic |= _imports(node)
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.refers.append(frozenset(Target(name, "") for name in _imported(node)))
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        self.refers.append(frozenset(Target(name, "") for name in _imported(node)))
        return node

    def _referring(self, node: ast.expr) -> ast.AST:
        """Note what a name, or `a.b.c`, means; of a symbol of the project leave what follows its name."""
        chain = _chain(node)
        self.attributes.update(chain[1:])
        found = list(self.source.resolve(self.module, chain))
        self.refers.append(frozenset(target for target, _ in found))
        lengths = {used for _, used in found}
        if len(lengths) != 1 or not all(self.source.defines(target) for target, _ in found):
            return node
        kept: ast.expr = ast.Name(SYMBOL, ast.Load())
        for part in chain[lengths.pop() :]:
            kept = ast.Attribute(kept, part, ast.Load())
        return kept

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if _is_text(node) or self._is_message(node.value) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep the annotations of a schema (pydantic, NamedTuple): they convert values. A dataclass's only document."""
        documents = not node.bases or any(_last(each) == "dataclass" for each in node.decorator_list)
        schema = [] if documents else [each for each in node.body if isinstance(each, ast.AnnAssign)]
        kept = [each.annotation for each in schema]
        self.generic_visit(node)
        for each, annotation in zip(schema, kept, strict=True):
            each.annotation = annotation
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if not _DECLARING & {_last(each) for each in ast.walk(node.annotation)}:
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def _is_message(self, node: ast.AST) -> bool:
        """Whether an expression calls a neutral function, with arguments that do nothing."""
        if not isinstance(node, ast.Call) or not (chain := _chain(node.func)):
            return False
        calls = [each for inner in (*node.args, *node.keywords) for each in ast.walk(inner)]
        pure = all(not isinstance(each, ast.Call) or _last(each) in _PURE for each in calls)
        meant = [target.module for target, _ in self.source.resolve(self.module, chain)]
        return pure and bool(meant) and all(module in NEUTRAL for module in meant)


def _dump(node: Any) -> str:
    """Write syntax, without empty fields, which differ between versions of Python, and without imports.

    What an import names is followed instead, so that moving a symbol changes nothing.
    """
    if isinstance(node, list):
        return f"[{','.join(_dump(each) for each in node if not isinstance(each, ast.Import | ast.ImportFrom))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")]
    kept = isinstance(node, ast.Constant)  # whose value may be None
    inner = ",".join(f"{name}={_dump(value)}" for name, value in fields if kept or value not in (None, []))
    return f"{type(node).__name__}({inner})"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_NOTHING = _md5(_dump([]))
