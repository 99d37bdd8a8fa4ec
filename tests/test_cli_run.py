"""``cxtrace run`` becomes the service, and cxtrace has begun before its first line."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxtrace.cli import main
from cxtrace.cli import run as run_command
from cxtrace.exporters import read_spans

MAP = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "pay"
stage = "purchase"
owner = "it"
match = { function = "service:pay" }
"""
SETTINGS = {"CXTRACE_MAP": "m.toml", "CXTRACE_EXPORTER": "file:spans.jsonl"}
CXTRACE = [sys.executable, "-c", "import sys; from cxtrace.cli import main; sys.exit(main())"]
BARE = """\
import sys
sys.modules["opentelemetry.instrumentation.auto_instrumentation"] = None
"""
"""What makes a process believe that opentelemetry-instrumentation is not installed."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**more: str) -> dict[str, str]:
    """The environment without any setting of OpenTelemetry or cxtrace."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    return {**clean, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a service and its map are, and a ``sitecustomize`` of the host in ``site``."""
    (tmp_path / "m.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "service.py").write_text(
        "def pay():\n    return 'paid'\nif __name__ == '__main__':\n    import service\n"
        "    print(service.pay())\n",
        encoding="utf-8",
    )
    (tmp_path / "site").mkdir()
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """A function that runs ``cxtrace run`` in that folder, in a process of its own."""

    def run(*command: str, host: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        (folder / "site" / "sitecustomize.py").write_text(host, encoding="utf-8")
        return subprocess.run(
            [*CXTRACE, "run", *command],
            env=environment(PYTHONPATH=str(folder / "site"), **environ),
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def spans(folder: Path) -> str:
    """What has been exported."""
    return (folder / "spans.jsonl").read_text(encoding="utf-8")


# Wrong use


@pytest.mark.parametrize("arguments", [[], ["--"]])
def test_a_command_is_needed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without one, it is said how to write it."""
    assert main(["run", *arguments]) == 2
    assert capsys.readouterr().err == (
        "cxtrace run: name a command: cxtrace run -- gunicorn shop.wsgi\n"
    )


def test_an_unknown_program_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not on the path cannot be run."""
    assert main(["run", "--", "no-such-program-of-ours", "--port", "1"]) == 2
    assert capsys.readouterr().err == (
        "cxtrace run: 'no-such-program-of-ours' is no program on the path\n"
    )


# Becoming the service


@pytest.mark.parametrize("given", ["", "/a:/b"])
@pytest.mark.parametrize("dashes", [["--"], []])
def test_the_service_gets_our_folder_first(
    monkeypatch: pytest.MonkeyPatch, given: str, dashes: list[str]
) -> None:
    """What was on ``PYTHONPATH`` stays behind it; the arguments are those of the service."""
    became: list[Any] = []
    monkeypatch.setenv("PYTHONPATH", given)

    def execv(program: str, command: list[str]) -> None:
        became.append((program, command, os.environ["PYTHONPATH"].split(os.pathsep)))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    assert main(["run", *dashes, sys.executable, "-m", "service", "--", "--help"]) == 0
    [(program, command, paths)] = became

    assert (program, command) == (
        sys.executable,
        [sys.executable, "-m", "service", "--", "--help"],
    )
    assert paths == [str(run_command._STARTUP), *filter(None, given.split(":"))]
    assert (run_command._STARTUP / "sitecustomize.py").is_file()


def test_programs_of_this_environment_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have cxtrace at hand; the environment need not be activated."""
    became: list[str] = []

    def execv(program: str, command: list[str]) -> None:
        became.append(program)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("PATH", "")
    program = Path(sys.executable)
    main(["run", "--", program.name])

    assert became == [str(program)]


def test_arguments_and_exit_code_are_the_services(run: Run) -> None:
    """Nothing is taken from either, and nothing is added to what is printed."""
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    done = run("--", sys.executable, "-c", code, "--", "-h", "--map", "x y")

    assert (done.returncode, done.stdout, done.stderr) == (7, "['--', '-h', '--map', 'x y']\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_reaches_the_service(folder: Path) -> None:
    """It is the same process: its id, its signals and how it dies of them."""
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [*CXTRACE, "run", "--", sys.executable, "-c", code],
        env=environment(), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as service:  # fmt: skip
        assert service.stdout is not None
        assert int(service.stdout.readline()) == service.pid
        service.send_signal(signal.SIGTERM)

        assert service.wait(timeout=60) == -signal.SIGTERM


# What begins


def test_without_settings_nothing_begins(run: Run) -> None:
    """A service that nobody has configured runs as ever."""
    code = "from cxtrace import _config; print(_config.wiring)"
    done = run("--", sys.executable, "-c", code, host=BARE)

    assert (done.stdout, done.stderr) == ("None\n", "")


def test_functions_of_the_map_are_touchpoints(run: Run, folder: Path) -> None:
    """Without OpenTelemetry's automatic instrumentation, cxtrace begins alone."""
    done = run("--", sys.executable, "service.py", host=BARE, **SETTINGS)

    assert (done.returncode, done.stdout, done.stderr) == (0, "paid\n", "")
    assert '"pay"' in spans(folder)


def test_opentelemetry_begins_too(run: Run, folder: Path) -> None:
    """Where its automatic instrumentation is installed, libraries are instrumented, and we join."""
    pytest.importorskip(
        "opentelemetry.instrumentation.auto_instrumentation",
        reason="opentelemetry-instrumentation is not installed",
    )
    pytest.importorskip(
        "opentelemetry.instrumentation.urllib",
        reason="opentelemetry-instrumentation-urllib is not installed",
    )
    code = """
import service, urllib.request
print(service.pay(), hasattr(urllib.request.OpenerDirector.open, "opentelemetry_instrumentation_urllib_applied"))
"""  # noqa: E501
    done = run("--", sys.executable, "-c", code, **SETTINGS)

    assert (done.returncode, done.stdout) == (0, "paid True\n")
    assert '"pay"' in spans(folder)


def test_opentelemetry_begins_once(run: Run, folder: Path) -> None:
    """Started under ``opentelemetry-instrument``, we do not start it a second time."""
    theirs = pytest.importorskip(
        "opentelemetry.instrumentation.auto_instrumentation",
        reason="opentelemetry-instrumentation is not installed",
    )
    host = Path(theirs.__file__).with_name("sitecustomize.py").read_text(encoding="utf-8")

    done = run("--", sys.executable, "service.py", host=host, **SETTINGS)

    assert (done.returncode, done.stdout) == (0, "paid\n")
    assert "already" not in done.stderr
    assert [span.name for span in read_spans(folder / "spans.jsonl")] == ["pay"]


@pytest.fixture
def chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that says which exporters a service finds: cxtrace's, traces, metrics, logs."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "execv", lambda *_: sys.exit(0))
    monkeypatch.setattr(os, "environ", environment(PYTHONPATH=""))
    names = ["CXTRACE_EXPORTER", *(f"OTEL_{s}_EXPORTER" for s in ("TRACES", "METRICS", "LOGS"))]

    def chosen(project: str, environ: dict[str, str], *, distro: bool = True) -> str:
        (folder / "pyproject.toml").write_text(project, encoding="utf-8")
        monkeypatch.setattr(run_command, "entry_points", lambda group: ["distro"] * distro)
        os.environ.update(environ)
        assert main(["run", "--", sys.executable]) == 0
        return " ".join(os.environ.get(name, "-") for name in names)

    return chosen


CONSOLE = '[tool.cxtrace]\nexporter = "console"\n'
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"}


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"CXTRACE_EXPORTER": "none"}, "none none none none"),
        ({"CXTRACE_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "otlp"}, "none none none otlp"),
        ({"CXTRACE_EXPORTER": "none", **ENDPOINT}, "none - - -"),
        ({"CXTRACE_EXPORTER": "console, otlp"}, "console, otlp none - -"),
        ({"CXTRACE_EXPORTER": "otlp_proto_http", **ENDPOINT}, "otlp_proto_http none - -"),
        (ENDPOINT, "- - - -"),
        ({}, "- - - -"),
    ],
)
def test_opentelemetrys_distribution_sends_nothing_unasked(
    chosen: Callable[..., str], settings: dict[str, str], shown: str
) -> None:
    """Where an exporter of ours is chosen, nothing goes to a collector that nobody has named.

    Nor does it go to the one that is named a second time.
    """
    assert chosen("", settings) == shown


@pytest.mark.parametrize(
    ("project", "settings", "shown"),
    [
        (CONSOLE, {}, "console none none none"),
        (CONSOLE, ENDPOINT, "console - - -"),
        (CONSOLE, {"CXTRACE_EXPORTER": "file:x", **ENDPOINT}, "file:x - - -"),
        (CONSOLE, {"OTEL_TRACES_EXPORTER": "zipkin"}, "- zipkin - -"),
        ("[tool.cxtrace]\nexporter = 7\n", {}, "- - - -"),
        ("[tool.", {}, "- - - -"),
    ],
)
def test_opentelemetrys_distribution_does_not_overrule_the_project(
    chosen: Callable[..., str], project: str, settings: dict[str, str], shown: str
) -> None:
    """What ``pyproject.toml`` names stands in the environment, unless something stands there."""
    assert chosen(project, settings) == shown


@pytest.mark.parametrize("project", ["", CONSOLE])
@pytest.mark.parametrize(("given", "shown"), [({}, "-"), ({"CXTRACE_EXPORTER": "none"}, "none")])
def test_without_a_distribution_no_exporter_is_set(
    chosen: Callable[..., str], project: str, given: dict[str, str], shown: str
) -> None:
    """There is nobody to keep from sending, and cxtrace finds by itself what is chosen."""
    assert chosen(project, given, distro=False) == f"{shown} - - -"


def test_a_wrong_map_does_not_stop_the_service(run: Run, folder: Path) -> None:
    """The error is told, and the service runs without us."""
    (folder / "m.toml").write_text("name = ", encoding="utf-8")
    done = run("--", sys.executable, "service.py", host=BARE, **SETTINGS)

    assert (done.returncode, done.stdout) == (0, "paid\n")
    assert done.stderr.startswith("cxtrace is off: the journey map has 1 problem:")


# Who was there before


def test_the_hosts_own_start_goes_on(run: Run, folder: Path) -> None:
    """A ``sitecustomize`` that ours hides is run, before us, and ``PYTHONPATH`` is kept."""
    host = BARE + "import os; print('host', os.environ['PYTHONPATH'].split(os.pathsep)[1:])\n"
    done = run("--", sys.executable, "service.py", host=host, **SETTINGS)

    # The command itself is a process with that start too, and has nothing before its path.
    assert done.stdout.splitlines() == ["host []", f"host {[str(folder / 'site')]}", "paid"]
    assert '"pay"' in spans(folder)


def test_a_host_whose_start_fails_fails_as_before(run: Run, folder: Path) -> None:
    """Python complains about the host's error as ever, and we begin nevertheless."""
    host = f"{BARE}raise OSError('of its own')\n"
    done = run("--", sys.executable, "service.py", host=host, **SETTINGS)

    assert (done.returncode, done.stdout) == (0, "paid\n")
    assert "OSError: of its own" in done.stderr
    assert '"pay"' in spans(folder)


def test_nobody_needs_a_start_of_their_own(folder: Path) -> None:
    """Without another ``sitecustomize`` on the path there is none to run."""
    done = subprocess.run(
        [*CXTRACE, "run", "--", sys.executable, "service.py"],
        env=environment(PYTHONPATH=""), cwd=folder,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "paid\n", "")


def test_what_the_service_starts_begins_too(run: Run, folder: Path) -> None:
    """Workers in processes of their own inherit the path."""
    code = "import subprocess, sys; subprocess.run([sys.executable, 'service.py'], check=True)"
    done = run("--", sys.executable, "-c", code, host=BARE, **SETTINGS)

    assert done.stdout == "paid\n"
    assert '"pay"' in spans(folder)
