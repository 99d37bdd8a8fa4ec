"""What code says about touchpoints, interactions and journeys, read without importing it.

Calls of ``touchpoint``, ``interaction`` and ``journey`` are found under every name that the file
imports them by. A helper of your own that passes a name on is not followed. Of nudges, those are
found that are not disclosed, as a call of ``nudge`` or of a method of that name.
"""

import ast
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from cxtrace._code_names import Defined, module_names, module_of

SKIPPED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})
"""Directories that hold no code of the project; hidden directories are passed over too."""

KINDS: Final = frozenset({"touchpoint", "interaction", "journey", "nudge"})
"""The calls that are looked for."""

ARGUMENTS: Final = ("stage", "owner", "channel")
"""The keyword arguments that a map can contradict."""


@attrs.frozen
class Use:
    """One call of ``touchpoint``, ``interaction``, ``journey`` or ``nudge`` in the code."""

    kind: str
    name: str | None
    """``None`` if it is known only when the code runs."""
    file: str
    line: int
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    """The keyword arguments among ``stage``, ``owner`` and ``channel`` that are known; of a nudge,
    ``disclosed`` as it is written.
    """


@attrs.frozen
class Scan:
    """What was found in some code."""

    uses: list[Use] = attrs.field(factory=list)
    unreadable: list[tuple[str, int, str]] = attrs.field(factory=list)
    """Files that could not be read: path, line or 0, reason."""
    files: list[Path] = attrs.field(factory=list)
    """The files that were looked at."""
    modules: dict[str, Defined] = attrs.field(factory=dict)
    """What the modules define, by every name that they can be imported by."""


def scan(paths: Iterable[Path]) -> Scan:
    """Read files and directories of Python code; what cannot be read is noted and passed over."""
    result = Scan()
    for path in paths:
        for file in _files(path):
            result.files.append(file)
            _scan_file(file, path, result)
    return result


def _scan_file(file: Path, root: Path, result: Scan) -> None:
    try:
        tree = _tree(file.read_bytes(), str(file))
        result.uses.extend(_uses(tree, str(file)))
        module = module_of(tree, str(file))
        result.modules.update(dict.fromkeys(module_names(file.resolve(), root.resolve()), module))
    except SyntaxError as error:
        result.unreadable.append((str(file), error.lineno or 0, error.msg))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        result.unreadable.append((str(file), 0, str(error) or type(error).__name__))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(n for n in inner if n not in SKIPPED and not n.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def uses(source: bytes, file: str) -> list[Use]:
    """Every use in one file, in the order of lines.

    Raises:
        SyntaxError: The source is not Python, or not in its declared encoding.
        ValueError: The source holds null bytes.
    """
    return _uses(_tree(source, file), file)


def _tree(source: bytes, file: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, file)


def _uses(tree: ast.Module, file: str) -> list[Use]:
    nodes = list(ast.walk(tree))
    reader = _Reader(file, _imported(nodes), _constants(tree, nodes))
    found = [use for node in nodes if isinstance(node, ast.Call) and (use := reader.use(node))]
    return sorted(found, key=lambda use: use.line)


def _imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """What dotted names of a file mean: ``{"cx.touchpoint": "touchpoint"}``."""
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "cxtrace" and not node.level:
            for alias in node.names:
                imported = KINDS if alias.name == "*" else KINDS & {alias.name}
                names.update({alias.asname or kind: kind for kind in imported})
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.asname or alias.name.partition(".")[0]
                if alias.name == "cxtrace" or (not alias.asname and module == "cxtrace"):
                    names.update({f"{module}.{kind}": kind for kind in KINDS})
    return names


def _constants(tree: ast.Module, nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Texts that the module binds to a name that nothing in the file binds again."""
    bound = Counter(name for node in nodes for name in _bound(node))
    constants = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            constants.update({name: value.value for name in names if bound[name] == 1})
    return constants


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield node.asname or node.name
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Global):
        yield from node.names


@attrs.frozen
class _Reader:
    file: str
    names: Mapping[str, str]
    constants: Mapping[str, str]

    def use(self, call: ast.Call) -> Use | None:
        kind = self.names.get(_dotted(call.func))
        # A handle can be called anything, so every method of this name is looked at.
        if kind is None and isinstance(call.func, ast.Attribute) and call.func.attr == "nudge":
            kind = "nudge"
        if kind is None:
            return None
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if kind == "nudge":
            return self.nudge(call, keywords)
        first = call.args[0] if call.args else keywords.get("name")
        texts = {key: self.text(keywords.get(key)) for key in ARGUMENTS}
        known = {key: text for key, text in texts.items() if text is not None}
        return Use(kind, self.text(first), self.file, call.lineno, known)

    def nudge(self, call: ast.Call, keywords: Mapping[str | None, ast.expr]) -> Use | None:
        """A nudge that is not disclosed, or of which only the running code knows."""
        disclosed = keywords.get("disclosed")
        if disclosed is None or (isinstance(disclosed, ast.Constant) and disclosed.value is True):
            return None
        first = call.args[0] if call.args else keywords.get("id")
        arguments = {"disclosed": ast.unparse(disclosed)}
        return Use("nudge", self.text(first), self.file, call.lineno, arguments)

    def text(self, node: Any) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.constants.get(node.id) if isinstance(node, ast.Name) else None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
