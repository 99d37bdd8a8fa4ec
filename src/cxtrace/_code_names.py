"""What modules of the code define, read without importing them.

A name that code makes in a way that cannot be read, such as a star import or a base class, is taken
for there: what is said to be missing is missing.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["function", "class", "module", "other"]

_BLOCKS: Final = ("body", "orelse", "handlers", "finalbody", "cases")


@attrs.frozen
class Defined:
    """A name in a module or a class.

    Attributes:
        kind: ``other`` is what is imported, assigned or made by code that is not run.
        file: Where it is.
        decorators: The lines of its decorators.
        names: What a class or a module defines itself.
        is_open: Whether there may be more than ``names``.
    """

    kind: Kind
    file: str
    decorators: frozenset[int] = frozenset()
    names: Mapping[str, "Defined"] = attrs.field(factory=dict)
    is_open: bool = True

    def find(self, path: str) -> "Defined | None":
        """What a dotted name leads to; None where there is no such thing."""
        found: Defined | None = self
        for name in path.split("."):
            if found is None or found.kind == "other":
                break
            unknown = Defined("other", self.file) if found.is_open else None
            found = found.names.get(name, unknown)
        return found

    def functions(self, before: str = "") -> Iterator[str]:
        """The qualified names of all functions and methods."""
        for name, inner in self.names.items():
            if inner.kind == "function":
                yield before + name
            elif inner.kind == "class":
                yield from inner.functions(f"{before}{name}.")


def module_of(tree: ast.Module, file: str) -> Defined:
    """What a module defines."""
    names = _names(tree.body, file)
    is_open = "*" in names or "__getattr__" in names
    return Defined("module", file, names=names, is_open=is_open)


def _names(body: Iterable[ast.stmt], file: str) -> dict[str, Defined]:
    found: dict[str, Defined] = {}
    for node in _statements(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = Defined("function", file, _lines(node), is_open=False)
        elif isinstance(node, ast.ClassDef):
            is_open = bool(node.bases or node.keywords or node.decorator_list)
            inner = _names(node.body, file)
            found[node.name] = Defined("class", file, names=inner, is_open=is_open)
        else:
            for name in _bound(node):
                found.setdefault(name, Defined("other", file))
    return found


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[int]:
    return frozenset(decorator.lineno for decorator in node.decorator_list)


def _statements(body: Iterable[Any]) -> Iterator[ast.AST]:
    """Those of a module or a class, also within ``if`` and ``try``."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in _BLOCKS:
                yield from _statements(getattr(node, block, ()))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a simple statement binds, or the head of one with blocks."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        return
    inner = {id(child) for block in _BLOCKS for child in getattr(node, block, ())}
    for child in ast.iter_child_nodes(node):
        if id(child) not in inner:
            for part in ast.walk(child):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id


def module_names(file: Path, root: Path) -> set[str]:
    """By what names a file can be imported.

    Args:
        file: A Python file.
        root: What was named on the command line: the file, or a folder that holds it.
    """
    bases = {_outside_of_packages(root if root.is_dir() else file.parent)}
    if (file.parent / "__init__.py").is_file():
        bases.add(_outside_of_packages(file.parent))
    return {".".join(_parts(file.relative_to(base))) for base in bases} - {""}


def _outside_of_packages(folder: Path) -> Path:
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts
