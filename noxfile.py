"""The checks of cxtrace: ``nox`` runs those that take ten minutes, on two cores.

They need nothing but Python and a package index. ``nox -l`` lists the rest.
``nox -s tests-3.12 -- -k propagation`` hands what follows ``--`` to pytest. Sessions run two at a
time: ``NOX_PARALLEL=1`` is for a machine that is short of memory.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
MEASUREMENTS = ROOT / ".nox" / "coverage-data"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
EXTRAS = "demo,platform,structlog"
ELSEWHERE = [
    "backends",
    "browser",
    "faults",
    "integrations",
    "life",
    "test_docs.py",
    "test_typing.py",
]
"""Tests that have a session of their own."""
ONCE = [
    *("test_benchmarks.py", "test_demo.py", "test_examples.py", "test_pytest_plugin.py"),
    *("test_doctor.py", "test_explain.py", "test_live_check.py", "test_semconv.py"),
    *("test_default_promises.py", "test_threat_model.py"),
]
"""Tests that start whole programs, or that hold files against each other: on the newest Python."""
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def see_pyenv() -> None:
    """Put every Python of pyenv on the path: its shims answer for the chosen ones alone."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [str(folder) for folder in sorted(root.glob("versions/3.*/bin"))]
    missing = [folder for folder in folders if folder not in os.environ["PATH"]]
    os.environ["PATH"] = os.pathsep.join([*missing, os.environ["PATH"]])


def is_present(version: str) -> bool:
    """Whether a Python of this version can be started."""
    if version == RUNNING:
        return True
    command = shutil.which(f"python{version}")
    return command is not None and not subprocess.run([command, "-c", ""], check=False).returncode


def backend() -> str:
    """Prefer uv, which is quicker, unless pip has an index of its own: uv would not know it."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    settings = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    return "virtualenv" if "index-url" in settings else "uv|virtualenv"


see_pyenv()
PYTHONS = nox.project.python_versions(PROJECT)
if RUNNING not in PYTHONS:
    PYTHONS.append(RUNNING)
PRESENT = [version for version in PYTHONS if is_present(version)]
MEASURED = PRESENT[-1]

nox.options.default_venv_backend = backend()
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # ``wheel`` names them.
nox.options.allow_parallel = True
nox.options.parallel = min(2, os.cpu_count() or 1)
nox.options.sessions = [
    *("wheel", f"tests-{MEASURED}", "programs", "integrations", "coverage"),
    *("docs", "typing", "lint", "audit"),
]


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def wheel_and(session: nox.Session, *requirements: str, extras: str = EXTRAS) -> None:
    """Install our wheel and all the rest in one go, so that OpenTelemetry's packages agree."""
    (built,) = DIST.glob("*.whl")
    session.install(f"cxtrace[{extras}] @ {built.as_uri()}", *requirements)


def plain_suite(session: nox.Session, *command: str) -> None:
    """Run the tests that have no session of their own against the installed wheel."""
    ignored = (f"--ignore=tests/{name}" for name in ELSEWHERE + ONCE)
    arguments = session.posargs or ["tests", *ignored]
    session.run(*command, "-m", "pytest", "--hypothesis-profile=ci", *arguments, env=clean())


def clean() -> dict[str, str | None]:
    """The environment of the tests: no settings of the machine, and where the wheel lies."""
    settings = [name for name in os.environ if name.startswith(("CXTRACE_", "OTEL_", "PYTHONPATH"))]
    kept = ("CXTRACE_BACKENDS", "CXTRACE_TEST_")
    dropped = dict.fromkeys(name for name in settings if not name.startswith(kept))
    return {**dropped, "CXTRACE_DIST": str(DIST), "COVERAGE_FILE": str(MEASUREMENTS / "data")}


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and, out of it, the wheel that every other session installs."""
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.rmtree(MEASUREMENTS, ignore_errors=True)
    session.install("build", *PROJECT["build-system"]["requires"])
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST), silent=True)
    session.log("built %s", ", ".join(sorted(file.name for file in DIST.iterdir())))
    missing = [version for version in PYTHONS if version not in PRESENT]
    session.log("Pythons that are not on this machine: %s", ", ".join(missing) or "none")


@nox.session(python=PYTHONS[::-1], requires=["wheel"])  # The newest takes longest.
def tests(session: nox.Session) -> None:
    """Run the plain suite against the wheel, with src/ on nobody's path."""
    wheel_and(session, *group("test"))
    MEASUREMENTS.mkdir(parents=True, exist_ok=True)
    is_measured = session.python == MEASURED
    plain_suite(session, "python", *(("-m", "coverage", "run") if is_measured else ()))


@nox.session(python=MEASURED, requires=["wheel"])
def programs(session: nox.Session) -> None:
    """Run the tests that start whole programs, or hold files against each other."""
    wheel_and(session, *group("test"))
    MEASUREMENTS.mkdir(parents=True, exist_ok=True)
    arguments = session.posargs or [f"tests/{name}" for name in ONCE]
    command = ("python", "-m", "coverage", "run", "-m", "pytest", "--hypothesis-profile=ci")
    session.run(*command, *arguments, env=clean())


@nox.session(default=False, python=PRESENT[0], requires=["wheel"])
def lowest(session: nox.Session) -> None:
    """Run the plain suite with the lowest version of everything that cxtrace depends on."""
    pins = [dependency.replace(">=", "==") for dependency in PROJECT["project"]["dependencies"]]
    wheel_and(session, *pins, *group("test"))
    plain_suite(session, "python")


@nox.session(python=MEASURED, requires=["wheel"])
def integrations(session: nox.Session) -> None:
    """Run the tests with real frameworks, but for those that wait for servers and workers."""
    wheel_and(session, *group("test"), *group("frameworks"))
    MEASUREMENTS.mkdir(parents=True, exist_ok=True)
    arguments = session.posargs or ["tests/integrations", "-m", "not service"]
    session.run("python", "-m", "coverage", "run", "-m", "pytest", *arguments, env=clean())


@nox.session(default=False, python=MEASURED, requires=["wheel"])
def servers(session: nox.Session) -> None:
    """Run the tests with real servers, workers and brokers."""
    wheel_and(session, *group("test"), *group("frameworks"))
    arguments = session.posargs or ["tests/integrations", "-m", "service"]
    session.run("python", "-m", "pytest", *arguments, env=clean())


@nox.session(default=False, python=PYTHONS, requires=["wheel"])
def life(session: nox.Session) -> None:
    """Run the tests of forks, pools, signals and sub-interpreters."""
    wheel_and(session, *group("test"))
    session.run("python", "-m", "pytest", *(session.posargs or ["tests/life"]), env=clean())


@nox.session(default=False, python=PRESENT[0], requires=["wheel"])
def frameworks(session: nox.Session) -> None:
    """Run the tests with the lowest version of every framework."""
    pins = [each.replace(">=", "==") for each in group("frameworks")]
    pins = [each for each in pins if not each.startswith("opentelemetry-")]
    # Not with the demo, which needs a newer Flask.
    wheel_and(session, *group("test"), *group("frameworks"), *pins, extras="structlog")
    arguments = session.posargs or ["tests/integrations"]
    session.run("python", "-m", "pytest", *arguments, env=clean())


@nox.session(requires=[f"tests-{MEASURED}", "programs", "integrations"])
def coverage(session: nox.Session) -> None:
    """Every branch of src/cxtrace is taken by some test."""
    session.install("coverage[toml]")
    session.run("coverage", "combine", "--keep", "--quiet", env=clean())
    session.run("coverage", "report", env=clean())


@nox.session(requires=["wheel"])
def docs(session: nox.Session) -> None:
    """Build the documentation without a warning, and run what it shows."""
    wheel_and(session, *group("docs"), *group("test"), *group("frameworks"))
    session.run("sphinx-build", "-q", "-W", "--keep-going", "docs", "docs/_build/html")
    session.run("python", "-m", "pytest", "tests/test_docs.py", env=clean())


@nox.session(requires=["wheel"])
def typing(session: nox.Session) -> None:
    """Check our types and what users see of them, with mypy and pyright."""
    wheel_and(session, *group("typing"), *group("test"), *group("frameworks"))
    session.run("mypy", "-p", "cxtrace", "-m", "_cxtrace_pytest")
    session.run("python", "-m", "pytest", "tests/test_typing.py", env=clean())
    session.run("pyright")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, docstrings, changelog."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", "--quiet", "--diff")
    session.run("ruff", "check", "--quiet")
    session.run("interrogate", "--quiet", "src")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session(requires=["wheel"])
def audit(session: nox.Session) -> None:
    """Look for known weaknesses in what is installed with cxtrace; say so where nobody answers."""
    wheel_and(session, extras="")
    found = session.run("python", "tools/audit.py", "--list", silent=True)
    file = Path(session.create_tmp()) / "installed.txt"
    file.write_text(str(found), encoding="utf-8")
    # Whoever has no pip-audit in the index is told that nothing was audited.
    session.install(*group("audit"), success_codes=[0, 1, 2], silent=True)
    session.run("python", "tools/audit.py", str(file), *session.posargs)


@nox.session(default=False, requires=["wheel"])
def backends(session: nox.Session) -> None:
    """Build the real backends where they are missing, and test with them: needs Go."""
    no_go = [] if os.environ.get("CI") == "true" else [2]
    session.run("tools/backends/build", external=True, success_codes=[0, *no_go])
    wheel_and(session, *group("test"))
    arguments = session.posargs or ["tests/backends"]
    session.run("python", "-m", "pytest", *arguments, env=clean())


@nox.session(default=False, python=MEASURED, requires=["wheel"])
def browser(session: nox.Session) -> None:
    """Look at the pages of HTML in a real browser: needs Chromium."""
    wheel_and(session, *group("test"), *group("browser"))
    arguments = session.posargs or ["tests/browser"]
    session.run("python", "-m", "pytest", *arguments, env=clean())


@nox.session(default=False, python=MEASURED, requires=["wheel"])
def faults(session: nox.Session) -> None:
    """Drive a service under load through faults, with a real Collector: needs Go."""
    no_go = [] if os.environ.get("CI") == "true" else [2]
    session.run("tools/backends/build", "collector", external=True, success_codes=[0, *no_go])
    wheel_and(session, *group("test"), "gunicorn>=22")
    session.run("python", "-m", "pytest", *(session.posargs or ["tests/faults"]), env=clean())


@nox.session(default=False, requires=["wheel"])
def benchmark(session: nox.Session) -> None:
    """Compare what cxtrace costs with hand-written OpenTelemetry."""
    wheel_and(session)
    session.run("python", "-m", "benchmarks", *session.posargs)
