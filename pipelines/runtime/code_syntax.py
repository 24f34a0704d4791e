"""Normalised syntax of a symbol, without docstrings, annotations, messages and symbol names."""

import ast
from typing import Any

from pipelines.runtime.code_modules import Module, Modules, Target, chain_of, imported, is_text, last_name

SYMBOL = "symbol"
"""Placeholder for the names of the project's symbols, so that a rename does not change the hash."""
RUNTIME = ("tasks", "pipelines.runtime")
"""The task protocol, and the package of modules that affect no result."""
_PURE = {"len", "sum", "round", "str", "int", "float", "min", "max", "sorted", "list"} | {
    "join",
    "format",
    "items",
    "keys",
}
"""Calls allowed in the arguments of a message that is ignored."""
_DYNAMIC = frozenset({"import_module", "__import__", "run_module", "spec_from_file_location"})
_DECLARING = frozenset({"ClassVar", "InitVar", "KW_ONLY", "Literal"})
"""Names in an annotation that change the behaviour of a class."""


def is_runtime(module: str) -> bool:
    """Return whether a module affects no result."""
    return module in RUNTIME or module.startswith(f"{RUNTIME[1]}.")


def anonymous(node: ast.AST) -> ast.AST:
    """Replace the name that a statement gives to a symbol by the placeholder."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node.name = SYMBOL
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Name):
            target.id = SYMBOL
    return node


def imports_dynamically(call: ast.Call) -> bool:
    """Return whether a call imports a module by a computed name."""
    return last_name(call) in _DYNAMIC and not all(isinstance(each, ast.Constant) for each in call.args)


class Normal(ast.NodeTransformer):
    """Removes docstrings, annotations, messages and symbol names, and records references and attributes."""

    def __init__(self, source: Modules, module: Module) -> None:
        self.source, self.module = source, module
        self.refers: list[frozenset[Target]] = []
        self.attributes: set[str] = set()
        self.dynamic = False

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._referring(node) if isinstance(node.ctx, ast.Load) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.attributes.add(node.attr)
        return self._referring(node) if chain_of(node) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.dynamic |= imports_dynamically(node)
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.refers.append(frozenset(Target(name, "") for name in imported(node)))
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        self.refers.append(frozenset(Target(name, "") for name in imported(node)))
        return node

    def _referring(self, node: ast.expr) -> ast.AST:
        """Record the targets of a name or of `a.b.c`; references to project symbols become the placeholder."""
        chain = chain_of(node)
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
        return None if is_text(node) or self._is_message(node.value) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep annotations of a schema (pydantic, NamedTuple), which convert values; a dataclass's are only hints."""
        documents = not node.bases or any(last_name(each) == "dataclass" for each in node.decorator_list)
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
        if not _DECLARING & {last_name(each) for each in ast.walk(node.annotation)}:
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def _is_message(self, node: ast.AST) -> bool:
        """Return whether an expression calls a runtime function with arguments that have no side effects."""
        if not isinstance(node, ast.Call) or not (chain := chain_of(node.func)):
            return False
        calls = [each for inner in (*node.args, *node.keywords) for each in ast.walk(inner)]
        pure = all(not isinstance(each, ast.Call) or last_name(each) in _PURE for each in calls)
        meant = [target.module for target, _ in self.source.resolve(self.module, chain)]
        return pure and bool(meant) and all(map(is_runtime, meant))


def dump(node: Any) -> str:
    """Serialise syntax without empty fields, which differ between Python versions, and without imports.

    Imported symbols are followed instead, so that moving a symbol does not change the hash.
    """
    if isinstance(node, list):
        return f"[{','.join(dump(each) for each in node if not isinstance(each, ast.Import | ast.ImportFrom))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")]
    kept = isinstance(node, ast.Constant)  # whose value may be None
    inner = ",".join(f"{name}={dump(value)}" for name, value in fields if kept or value not in (None, []))
    return f"{type(node).__name__}({inner})"
