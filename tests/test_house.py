"""The house keeps its shape: rooms, imports, names, budgets, and what no file may say."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import cxtrace
from cxtrace import _version

ROOT = Path(__file__).parents[1]
PACKAGE = Path(cxtrace.__file__).parent

LAYERS = (
    # vocabulary: imports nothing of ours but vocabulary
    """
    exceptions attributes typing _version _locks _guard _process _gate _worker _turn _clock _folding
    _numbers _blockers _closed_sets _map _map.text
    """,
    # facts
    """
    _happy _model _project _routes _map.source _map.place _map.shapes _map.tables _map.matching
    _map.schema _map.merge _map.dump _map.find journey_map _map.lint _keys _key_file _lookup
    _pseudonymisers _sqlite_store privacy _baggage _destination _signal_words _tree _sql
    """,
    # what is true now
    """
    context _withdrawals _marks _scope _leave _runtime _deadline _observers _friction _journeys
    _lived _promises _expectations _instruments _events
    """,
    # what users write
    """
    _wrap _noun _signal _outcome _exceptions _identity _customer_signals _company_signals _handles
    signals _milestones _measures _ending _plan _touchpoint _journey_ids _journey _threads
    _bound _visit _walkthrough
    """,
    # pluggable steps
    """
    sampling _span _tracing _metering processors _redirects propagation _console _answers
    _counting _otlp_watch _otlp _otlp_json _otlp_file _scrubbing exporters _records _shared_page
    _ledger _flights _queue _outage _courier _spool _spool.format _spool.account _spool.segments
    _spool.shelf _spool.state _spool.owner spool _keeper delivery logs _transparent binding _auto
    """,
    # assembly
    """
    _settings _forkable _pipelines _wiring _self_metrics _config _sigterm _wiring_parts
    _process_facts _wiring_facts _zero_code diagnostics testing
    testing._records testing._fixed testing._providers testing._reading testing._personal
    testing._capture testing._swap
    """,
    # edges
    """
    integrations integrations._http integrations._django_request integrations._grpc_channels
    integrations._outgoing integrations.asgi integrations.celery integrations.django
    integrations.flask integrations.grpc integrations.messages integrations.openfeature
    integrations.stamina integrations.starlette integrations.tenacity integrations.webhooks
    integrations._webhooks integrations._webhooks.receipts integrations._webhooks.serving
    integrations._webhooks.signatures integrations._webhooks.visits integrations.wsgi _code_names
    _code_scan _code_check platform platform.mermaid platform.series platform.prometheus
    platform.writing platform.links platform.links.searches platform.links.encoding
    platform.links.queries platform.links.explore platform.links.urls platform.links.boards
    platform.links.jaeger_files platform.rules platform.rules.options platform.rules.promises
    platform.rules.queries platform.rules.words platform.rules.recording
    platform.rules.alerts platform.rules.promtool platform.rules.slo cli.rules
    _startup.sitecustomize
    platform.scaffold platform.scaffold.facts platform.scaffold.templates platform.scaffold.words
    platform.scaffold.naming platform.scaffold.celery platform.scaffold.django
    platform.scaffold.flask platform.scaffold.openapi platform.scaffold.starlette
    platform.scaffold.targets platform.scaffold.draft platform.scaffold.writing cli cli._drawing
    cli._maps cli.check cli._generated cli.jaeger cli.keys cli.link cli.map cli.demo cli.run
    cli.scaffold cli._demo cli._demo.facts cli._demo.asking
    cli._demo.shop cli._demo.services cli._demo.walking cli._demo.reading cli._demo.checks
    cli._demo.summary cli._demo.report platform.dashboards platform.dashboards.facts
    platform.dashboards.promql platform.dashboards.links platform.dashboards.variables
    platform.dashboards.words platform.dashboards.living_journey platform.dashboards.stage
    platform.dashboards.touchpoint platform.dashboards.function platform.dashboards.promise
    platform.dashboards.health platform.dashboards.grafana platform.dashboards.provisioning
    cli.dashboards platform.doctor platform.doctor.subject
    platform.doctor.asking platform.doctor.queries platform.doctor.endpoints
    platform.doctor.folder platform.doctor.keys platform.doctor.order platform.doctor.personal
    platform.doctor.providers
    platform.doctor.settings platform.doctor.checks platform.doctor.probe platform.doctor.patient
    platform.doctor._first platform.doctor.visit cli.doctor platform.explain
    platform.explain.registry platform.explain.live platform.explain.patient platform.explain.rules
    platform.explain.groups platform.explain.explanation platform.explain.record cli.explain
    platform.collector platform.collector.redaction platform.collector.parts
    platform.collector.journeys platform.collector.kubernetes platform.collector.files
    cli.collector
    platform.pages platform.pages.markup platform.pages.frame platform.live platform.live.spread
    platform.live.tally platform.live.recordings platform.live.stores platform.live.measured
    platform.live.words platform.live.data platform.live.diagram platform.live.cards
    platform.live.lanes platform.live.tables platform.live.page platform.view platform.view.ways
    platform.view.waterfall platform.view.page cli._live cli._living cli.view
    platform.trouble __main__
    """,
)
"""Who may import whom: only what stands in the same line or above. A new module gets its place."""

MAY_IMPORT_THE_SDK = {
    *("_span", "_tracing", "processors", "sampling", "exporters", "_console", "_otlp_file"),
    *("_config", "_settings", "_counting", "_otlp", "_pipelines", "delivery", "_records"),
    *("_forkable", "_wiring", "_metering", "_scrubbing"),
    *("testing._fixed", "testing._providers", "testing._capture", "testing._swap"),
}
LOADED_BY_IMPORT = {"attr", "attrs", "cxtrace", "opentelemetry", "typing_extensions"}
"""What ``import cxtrace`` may load besides the standard library."""
LOADED_BY_THE_API = {"deprecated", "wrapt", "importlib_metadata", "zipp"}
"""What older versions of OpenTelemetry's API load."""
NEVER_LOADED = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto")
API = "opentelemetry.attributes, opentelemetry.context, opentelemetry.trace"
MOST_LOADED_OVER_THE_API = 26
FRAMEWORKS = {"aiohttp", "celery", "django", "fastapi", "flask", "httpx", "requests", "starlette"}

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
MOST_PRAGMAS = 5

in_a_checkout = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="only a git checkout knows its files"
)


def short(path: Path) -> str:
    """A module as its own package calls it: ``cli.check``; the package itself is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {short(path): path for path in sorted(PACKAGE.rglob("*.py")) if "_shop" not in path.parts}
LAYER_OF = {name: number for number, layer in enumerate(LAYERS) for name in layer.split()}


@cache
def tree(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a tree but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from run_time_nodes(child)


def module_level_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield child
        yield from module_level_nodes(child)


def imported(name: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The full names that a module of ours imports."""
    package = ["cxtrace", *name.split(".")] if name else ["cxtrace"]
    if name and MODULES[name].name != "__init__.py":
        package.pop()
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full.removeprefix("cxtrace.") in MODULES else base


def ours(name: str) -> set[str]:
    """The modules of ours that a module of ours imports, wherever in its text."""
    found = set(imported(name, run_time_nodes(tree(MODULES[name]))))
    return {
        each.partition(".")[2] for each in found if each == "cxtrace" or each.startswith("cxtrace.")
    } - {name}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@cache
def own_files() -> tuple[Path, ...]:
    """The files of this project: what git has, and what it would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = (ROOT / name for name in done.stdout.splitlines())
    return tuple(path for path in paths if path.is_file())


def lines_with(pattern: str, *but: str) -> list[str]:
    """Where a pattern stands in the files of this project, but for the named ones."""
    found = []
    for path in own_files():
        name = path.relative_to(ROOT).as_posix()
        if name in but:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{name}:{number}: {hit[0]}" for hit in re.finditer(pattern, line)]
    return found


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def command_lines(text: str) -> list[str]:
    """The commands of a text's ``console`` blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = (line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# Rooms


def test_every_module_has_its_layer() -> None:
    """The table of layers names each module that exists, once, and no other."""
    names = " ".join(LAYERS).split()

    assert set(MODULES) - set(names) == {""}
    assert sorted(set(names)) == sorted(names)
    assert set(names) <= set(MODULES)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_imports_point_downwards(name: str) -> None:
    """A module imports from its own layer and from those below, never from the package itself."""
    above = {
        other or "cxtrace"
        for other in ours(name)
        if not other or LAYER_OF.get(other, 0) > LAYER_OF.get(name, 0)
    }

    assert above == set(), f"{name} imports what lies above it"


def test_the_package_imports_no_edge() -> None:
    """The table of contents lists what users write; the command line and the platform stay out."""
    assert {name for name in ours("") if LAYER_OF[name] == len(LAYERS) - 1} == set()


def test_no_import_cycle() -> None:
    """Imports form a tree: if two modules need each other, a third wants to exist."""
    left = {name: ours(name) for name in MODULES if name}
    while leaves := [name for name, needed in left.items() if not needed & set(left)]:
        for name in leaves:
            del left[name]

    assert left == {}, "these import each other"


# Imports


@cache
def loaded(before: str = "sys") -> tuple[str, ...]:
    """The modules that ``import cxtrace`` loads into an interpreter that has loaded others."""
    code = "had = set(sys.modules); import cxtrace; print(*set(sys.modules) - had)"
    command = [sys.executable, "-c", f"import sys, {before}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return tuple(sorted(done.stdout.split()))


def test_import_is_light() -> None:
    """Importing cxtrace loads OpenTelemetry's API and the standard library, and no more."""
    allowed = LOADED_BY_IMPORT | LOADED_BY_THE_API | sys.stdlib_module_names

    assert {name for name in loaded() if name.partition(".")[0] not in allowed} == set()
    assert [name for name in loaded() if name.startswith(NEVER_LOADED)] == []


def test_import_loads_few_modules() -> None:
    """Over OpenTelemetry's API few modules are loaded; their number, unlike time, is stable."""
    assert len(loaded(API)) <= MOST_LOADED_OVER_THE_API, loaded(API)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_heavy_packages_are_imported_late(name: str) -> None:
    """At its top, a module imports no framework, no exporter, and the SDK only where it must."""
    path = MODULES[name]
    top = set(imported(name, module_level_nodes(tree(path))))
    anywhere = set(imported(name, run_time_nodes(tree(path))))
    sdk = {each for each in top if each.startswith("opentelemetry.sdk")}

    assert name in MAY_IMPORT_THE_SDK or sdk == set()
    assert {each for each in top if each.partition(".")[0] in FRAMEWORKS} == set()
    assert {each for each in top if each.startswith(NEVER_LOADED[1:])} == set()
    assert "structlog" not in {each.partition(".")[0] for each in anywhere}


# Names


def test_all_is_what_is_visible() -> None:
    """``__all__`` is sorted, is what ``dir()`` shows, and each of its names is there."""
    assert sorted(cxtrace.__all__) == cxtrace.__all__
    assert sorted(dir(cxtrace)) == sorted([*cxtrace.__all__, "__version__"])
    assert [name for name in cxtrace.__all__ if not hasattr(cxtrace, name)] == []


def test_all_is_what_is_imported() -> None:
    """What ``__init__`` imports, for type checkers too, is what ``__all__`` lists."""
    imports = {
        alias.name: str(node.module)
        for node in ast.walk(tree(MODULES[""]))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cxtrace")
        for alias in node.names
    }
    later = {name: module for name, module in imports.items() if name in cxtrace._LATER}

    assert sorted(imports) == cxtrace.__all__
    assert later == cxtrace._LATER


def test_unknown_names_are_refused() -> None:
    """A name that does not exist is an AttributeError, as for any module."""
    with pytest.raises(AttributeError, match="no attribute 'touchpiont'"):
        cxtrace.touchpiont  # type: ignore[attr-defined]  # noqa: B018


def test_version_is_that_of_the_distribution() -> None:
    """``cxtrace.__version__`` is what is installed."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", cxtrace.__version__)


def test_version_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cxtrace lies on the path without being installed, nobody knows its version: it is 0."""

    def not_found(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_version, "installed", not_found)

    assert _version.version.__wrapped__() == "0"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_public_things_have_docstrings(name: str) -> None:
    """Every module, and every public class, function and method in it, says what it is for."""
    module = tree(MODULES[name])
    missing = [] if ast.get_docstring(module) else ["the module"]
    todo: list[ast.AST] = [module]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(f"{node.name} in line {node.lineno}")
            if isinstance(node, ast.ClassDef):
                todo.append(node)

    assert missing == []


# Budgets


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_short(name: str) -> None:
    """A module that outgrows its budget has two subjects: split it."""
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())

    assert lines <= LONGEST_MODULE, f"{name or '__init__'} has {lines} lines"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_functions_are_short(name: str) -> None:
    """A function fits on a screen, its docstring included."""
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(MODULES[name])
    }

    assert {each: n for each, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def test_coverage_is_not_bought_with_pragmas() -> None:
    """Few lines are kept out of the measurement, and each says why."""
    pragmas = [
        f"{name}: {line.partition('pragma:')[2]}"
        for name, path in MODULES.items()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "pragma:" in line
    ]
    unexplained = [
        pragma for pragma in pragmas if not re.search(r"no (cover|branch)\W+\w+ \w+", pragma)
    ]

    assert len(pragmas) <= MOST_PRAGMAS, pragmas
    assert unexplained == []


# Tests


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem
)
def test_tests_are_sentences(path: Path) -> None:
    """Every test says in one sentence which behaviour it holds."""
    wrong = []
    for node in functions(path):
        sentence = (ast.get_docstring(node) or "").partition("\n\n")[0].strip()
        starts = bool(re.match(r"[^a-z]|\w+\(", sentence))  # what is code may start with anything
        if node.name.startswith("test_") and not (starts and sentence.endswith(".")):
            wrong.append(f"{node.name} in line {node.lineno}: {sentence or 'no docstring'}")

    assert wrong == []


# What no file may say, and what is said once


@in_a_checkout
def test_no_file_names_a_machine() -> None:
    """No file names a folder of the machine it was written on."""
    home = r"(?<![\w.>])(/home/\w+|/Users/\w+|/root|/work|/tmp/\w|[A-Z]:\\\\?Users)\b"
    allowed = ("tests/test_house.py",)

    assert lines_with(home, *allowed) == []


@in_a_checkout
def test_no_file_names_a_registry() -> None:
    """No file names a registry's host: whoever builds decides where packages come from."""
    hosts = r"pypi\.org|pythonhosted\.org|proxy\.golang\.org|sum\.golang\.org|registry\.npmjs\.org"

    assert lines_with(hosts, "tests/test_house.py") == []


@in_a_checkout
def test_no_file_names_a_person() -> None:
    """No file holds an e-mail address but those that are reserved for examples."""
    found = lines_with(r"(?<![\w.+:/-])[\w.+-]+@[\w-]+(\.[\w-]+)*\.[a-z]{2,}\b")
    reserved = re.compile(r"[@.](example|invalid|test|local|internal)(\.(com|org|net))?$")

    assert [line for line in found if not reserved.search(line)] == []


@in_a_checkout
def test_version_is_said_once() -> None:
    """The version stands in pyproject.toml and nowhere else."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)

    assert lines_with(rf"(?<![\w.]){re.escape(version)}\b", "pyproject.toml") == []


@in_a_checkout
@pytest.mark.parametrize("heading", ["Try it", "Test it"])
def test_the_readme_has_one_command(heading: str) -> None:
    """Under each of its two headings README has exactly one command line."""
    under = section("README.md", heading)

    assert under.count("```") == 2
    assert len(command_lines(under)) == 1


@in_a_checkout
@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Every file that a page at the root links to exists."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))

    assert [link for link in links if not (ROOT / link).exists()] == []


# CONTRIBUTING says what is true

VENV = ".venv-test/bin/"


def nox_sessions() -> set[str]:
    """The sessions that the noxfile defines."""
    return {
        node.name
        for node in functions(ROOT / "noxfile.py")
        if any("nox.session" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


@in_a_checkout
def test_the_commands_of_contributing_exist() -> None:
    """CONTRIBUTING sets up with README's command, and names only sessions and files there are."""
    lines = command_lines((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    (readme,) = command_lines(section("README.md", "Test it"))
    others = [line for line in lines if line != readme]
    sessions = {name for line in others for name in re.findall(r"nox -s (\w+)", line)}
    files = {
        word
        for line in others
        for word in line.split()
        if "/" in word and not word.startswith((VENV, ".venv/")) and "*" not in word
    }

    assert readme in lines
    assert sessions <= nox_sessions()
    assert {name for name in files if not (ROOT / name).exists()} == set()


@in_a_checkout
def test_every_session_is_explained() -> None:
    """CONTRIBUTING lists every session of the noxfile."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert {name for name in nox_sessions() if f"`{name}`" not in text} == set()


@in_a_checkout
def test_ci_runs_the_command_of_the_readme() -> None:
    """What CI takes out of README is README's command, to the letter."""
    done = subprocess.run(
        [ROOT / ".ci" / "run", "--show"], capture_output=True, text=True, check=True
    )
    (readme,) = command_lines(section("README.md", "Test it"))

    assert done.stdout.strip() == readme


# Changelog


@in_a_checkout
def test_changes_name_what_changed() -> None:
    """A fragment has a name that towncrier reads, and names the symbol or command it is about."""
    kinds = "added|changed|deprecated|removed|fixed|security"
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name[0] not in ".R"]
    wrong = [
        path.name
        for path in fragments
        if not re.fullmatch(rf"\+?[\w-]+\.({kinds})\.md", path.name)
        or "`" not in path.read_text(encoding="utf-8")
    ]

    assert wrong == []
