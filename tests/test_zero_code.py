"""What starts cxtrace in a service that nobody edits: it never stops the service."""

import importlib.metadata
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import Decision

from cxtrace import _config, _guard, _zero_code
from cxtrace.exceptions import ConfigurationError
from cxtrace.sampling import DestinationSampler, sampler

pytestmark = pytest.mark.usefixtures("forgetful")

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
SHOW = """
import cxtrace
from cxtrace import _config
print("on" if _config.wiring is not None else "off", cxtrace.report().journey_map)
import service
print(service.pay())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a service and its map are."""
    (tmp_path / "m.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "service.py").write_text("def pay():\n    return 'paid'\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, script: str, **environ: str) -> tuple[list[str], list[str]]:
    """What a process of its own prints and logs that begins without a line of code of ours."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script) + SHOW],
        cwd=folder, env={**clean, **environ},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr.splitlines()


BEGIN = "from cxtrace import _zero_code\n_zero_code.begin()\n"


def test_to_be_installed_is_not_to_be_wanted(folder: Path) -> None:
    """Where nothing of ours is set, nothing is configured and nothing is said."""
    assert run(folder, BEGIN) == (["off None", "paid"], [])


def test_settings_begin_it(folder: Path) -> None:
    """With a map, its functions are touchpoints; a second time nothing happens."""
    found = run(folder, BEGIN + BEGIN, CXTRACE_MAP="m.toml", CXTRACE_EXPORTER="file:spans.jsonl")
    version = found[0][0].removeprefix("on ")

    assert found == ([f"on {version}", "paid"], [])
    assert "shop" in version
    assert '"pay"' in (folder / "spans.jsonl").read_text(encoding="utf-8")


def test_settings_of_the_project_begin_it(folder: Path) -> None:
    """A table in ``pyproject.toml`` is a wish too."""
    (folder / "pyproject.toml").write_text(
        '[tool.cxtrace]\njourney_map = "m.toml"\nexporter = "none"\n', encoding="utf-8"
    )

    assert run(folder, BEGIN)[0][0].startswith("on ")


def test_a_wrong_map_is_told_once(folder: Path) -> None:
    """The service goes on without us, and one error says what is wrong."""
    (folder / "m.toml").write_text(MAP.replace('owner = "it"', 'owner = "ti"'), encoding="utf-8")
    printed, logged = run(folder, BEGIN, CXTRACE_MAP="m.toml")

    assert printed == ["off None", "paid"]
    assert logged == [
        "cxtrace is off: the journey map has 1 problem:",
        (
            f'{"m.toml"}:10: touchpoint[pay].owner: "ti" is not a function of this map;'
            ' did you mean "it"?'
        ),
    ]


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ('journey_map="m.toml", exporter="none"', "on"),
        ('skip_dep_check=False, journey_map="m.toml", exporter="none"', "on"),
        ("skip_dep_check=True", "off"),
        ("", "off"),
    ],
)
def test_declarative_configuration_gives_options(folder: Path, options: str, printed: str) -> None:
    """Options are arguments of ``configure``; without any, the environment decides."""
    script = f"""
    from cxtrace._zero_code import CXInstrumentor
    CXInstrumentor().instrument({options})
    """
    found, logged = run(folder, script)

    assert found[0].split()[0] == printed
    assert (found[1], logged) == ("paid", [])


def test_without_options_the_environment_decides(folder: Path) -> None:
    """The instrumentor finds what is set, as OpenTelemetry's own hook does."""
    script = "from cxtrace._zero_code import CXInstrumentor\nCXInstrumentor().instrument()\n"
    found, _ = run(folder, script, CXTRACE_MAP="m.toml", CXTRACE_EXPORTER="none")

    assert found[0].startswith("on ")


def test_what_has_been_configured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that configures cxtrace itself is left alone."""
    monkeypatch.setenv("CXTRACE_EXPORTER", "none")
    monkeypatch.setattr(_config, "wiring", object())
    monkeypatch.setattr(_config, "configure", lambda: pytest.fail("configured again"))
    _zero_code.begin()

    assert _guard.counts() == {}


def fails(error: Exception) -> Any:
    """A ``configure`` that raises."""

    def configure(**options: Any) -> None:
        raise error

    return configure


@pytest.mark.parametrize("options", [{}, {"exporter": "none"}])
def test_a_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    """It is an error in the log, and no exception."""
    monkeypatch.setenv("CXTRACE_SAMPLE", "2")
    monkeypatch.setattr(_config, "wiring", None)
    monkeypatch.setattr(_config, "configure", fails(ConfigurationError("sample is wrong")))
    _zero_code.CXInstrumentor().instrument(**options)

    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.ERROR, "cxtrace is off: sample is wrong")
    ]


@pytest.mark.parametrize("options", [{}, {"exporter": "none"}])
def test_an_error_of_ours_is_counted(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Whatever breaks in us, the service begins."""
    monkeypatch.setenv("CXTRACE_SAMPLE", "1")
    monkeypatch.setattr(_config, "wiring", None)
    monkeypatch.setattr(_config, "configure", fails(RuntimeError()))
    _zero_code.CXInstrumentor().instrument(**options)

    assert _guard.counts() == {"errors.zero_code": 1}


@pytest.mark.parametrize(
    ("option", "hint"),
    [("journey_mpa", "did you mean 'journey_map'?"), ("x", "it can be service_name")],
)
def test_an_unknown_option_is_one_line(
    caplog: pytest.LogCaptureFixture, option: str, hint: str
) -> None:
    """A misspelt setting of a configuration file is named, with what was meant."""
    _zero_code.CXInstrumentor().instrument(**{option: "m.toml"})

    (record,) = caplog.records
    assert record.getMessage().startswith(
        "cxtrace is off: OTEL_CONFIG_FILE: cxtrace has no setting"
    )
    assert hint in record.getMessage()


@pytest.mark.parametrize("journey_map", ["", "m.toml"])
def test_it_says_that_it_is_on(folder: Path, journey_map: str) -> None:
    """At level INFO, which is silent unless somebody asks for it."""
    script = """
    import logging
    logging.basicConfig(level=logging.INFO)
    from cxtrace._zero_code import begin
    begin()
    """
    _, logged = run(folder, script, CXTRACE_EXPORTER="none", CXTRACE_MAP=journey_map)

    (line,) = [line for line in logged if "cxtrace is on" in line]
    assert line.endswith("journey map none") is not bool(journey_map)


def test_it_does_not_say_so_where_opentelemetry_is_off(folder: Path) -> None:
    """``OTEL_SDK_DISABLED`` switches us off too, and that is all that is said."""
    script = f"import logging\nlogging.basicConfig(level=logging.INFO)\n{BEGIN}"
    printed, logged = run(folder, script, CXTRACE_EXPORTER="none", OTEL_SDK_DISABLED="true")

    assert printed == ["off None", "paid"]
    assert logged == ["WARNING:cxtrace:cxtrace is off, because OTEL_SDK_DISABLED is set"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("opentelemetry_pre_instrument", _zero_code.begin),
        ("opentelemetry_instrumentor", _zero_code.CXInstrumentor),
        ("opentelemetry_traces_sampler", sampler),
        ("opentelemetry_sampler", sampler),
    ],
)
def test_opentelemetry_finds_us(group: str, expected: object) -> None:
    """The installed package says where OpenTelemetry's hooks are."""
    [found] = importlib.metadata.entry_points(group=group, name="cxtrace")

    assert found.load() is expected


@pytest.mark.parametrize(
    ("ratio", "kept"), [(None, True), ("", True), ("1", True), ("0", False), (0.0, False)]
)
def test_the_sampler_keeps_a_share(ratio: str | float | None, kept: bool) -> None:
    """``OTEL_TRACES_SAMPLER_ARG`` is the share of new traces; without it all are kept."""
    found = sampler(ratio)
    result = found.should_sample(None, 7, "pay")

    assert isinstance(found, DestinationSampler)
    assert (result.decision is Decision.RECORD_AND_SAMPLE) is kept


@pytest.mark.parametrize("ratio", ["half", "1.5", "-1", "nan"])
def test_a_ratio_that_is_none_is_refused(ratio: str) -> None:
    """OpenTelemetry then says so and takes its own sampler."""
    with pytest.raises(ValueError, match=r"."):
        sampler(ratio)
