"""Settings: argument, environment, ``pyproject.toml``, default; and what is said of wrong ones."""

import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cxtrace import _settings
from cxtrace._settings import Settings, settle
from cxtrace.delivery import SpoolSettings
from cxtrace.exceptions import ConfigurationError, MapError
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Key

KEY = "0123456789abcdef0123456789abcdef"
MAP = """\
schema = "cxtrace.map/1"
name = "{}"
[functions]
it = {{}}
[[stage]]
name = "s"
phase = "customer"
"""


def settled(folder: Path, environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    """The settings that come of these arguments, this environment and the folder's project."""
    return settle(arguments, environ or {}, folder)


def project(folder: Path, **table: Any) -> Path:
    """Write ``[tool.cxtrace]``; JSON's values are TOML's here."""
    path = folder / "pyproject.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    path.write_text("\n".join(["[tool.cxtrace]", *lines, ""]))
    return path


def failure(folder: Path, environ: dict[str, str] | None = None, **arguments: Any) -> str:
    """The message of the error that these settings are."""
    with pytest.raises(ConfigurationError) as caught:
        settled(folder, environ, **arguments)
    return str(caught.value)


# name, argument, in the environment, in pyproject.toml: each with the value expected
CASES: list[tuple[str, Any, Any, str, Any, Any, Any]] = [
    ("service_name", "a", "a", "b", "b", "c", "c"),
    ("exporter", "none", "none", "console", "console", "otlp", "otlp"),
    ("sample", 0.5, 0.5, "0.25", 0.25, 1, 1.0),
    (
        "trusted_hosts",
        ["a.com"],
        ("a.com",),
        "b.com, *.b.com",
        ("b.com", "*.b.com"),
        ["c.com"],
        ("c.com",),
    ),
    ("trust_inbound", "never", "never", "always", "always", "never", "never"),
    ("unknown_destination", "names", "names", "names", "names", "names", "names"),
    ("public_endpoint", True, True, "yes", True, True, True),
    ("consent_required", True, True, "1", True, "on", True),
    ("event_signal", "log", "log", "both", "both", "span", "span"),
    (
        "signals_off",
        ["emotion"],
        frozenset({"emotion"}),
        "value, mention",
        frozenset({"value", "mention"}),
        ["friction"],
        frozenset({"friction"}),
    ),
    (
        "metrics_opt_in",
        {"cx.journey.active"},
        frozenset({"cx.journey.active"}),
        "cx.channel.name,",
        frozenset({"cx.channel.name"}),
        ["cx.journey.route"],
        frozenset({"cx.journey.route"}),
    ),
    ("record_exceptions", "full", "full", "scrubbed", "scrubbed", "full", "full"),
    ("spool", Path("/a"), Path("/a"), "/b", Path("/b"), "/c", Path("/c")),
    ("spool_max_bytes", 2_000_000, 2_000_000, "2MB", 2_000_000, "64 MiB", 64 * 2**20),
    ("spool_max_age", 60, 60.0, "3600", 3_600.0, "2h", 7_200.0),
    ("scrub", ["app.*"], ("app.*",), "a.b, /c/{d}", ("a.b", "/c/{d}"), True, ()),
]
ARGUMENTS = {"key", "journey_map", "on_friction", "pseudonymiser"}
"""Settings that have tests of their own."""
DEFAULTS: dict[str, Any] = {
    "service_name": None,
    "exporter": None,
    "sample": None,
    "key": None,
    "pseudonymiser": None,
    "trusted_hosts": (),
    "trust_inbound": "signed",
    "unknown_destination": "nothing",
    "public_endpoint": False,
    "consent_required": False,
    "event_signal": None,
    "signals_off": frozenset(),
    "metrics_opt_in": frozenset(),
    "record_exceptions": None,
    "spool": None,
    "spool_max_bytes": 64 * 2**20,
    "spool_max_age": 86_400.0,
    "scrub": None,
    "on_friction": None,
    "journey_map": None,
}


def test_defaults(tmp_path: Path) -> None:
    """With nothing set anywhere, every setting has its default."""
    found = settled(tmp_path)

    assert {field.name: getattr(found, field.name) for field in attrs.fields(Settings)} == DEFAULTS


def test_every_setting_is_tested() -> None:
    """The tests below cover every setting that there is."""
    assert {case[0] for case in CASES} | ARGUMENTS == set(DEFAULTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_precedence(tmp_path: Path, case: tuple[str, Any, Any, str, Any, Any, Any]) -> None:
    """The argument comes first, then the variable, then the project's file, then the default."""
    name, argument, by_argument, variable, by_variable, line, by_line = case
    environ = {f"CXTRACE_{name.upper()}": variable}

    assert getattr(settled(tmp_path, environ), name) == by_variable
    project(tmp_path, **{name: line})
    assert getattr(settled(tmp_path), name) == by_line
    assert getattr(settled(tmp_path, environ), name) == by_variable
    assert getattr(settled(tmp_path, environ, **{name: argument}), name) == by_argument
    assert getattr(settled(tmp_path, environ, **{name: None}), name) == by_variable
    assert getattr(settled(tmp_path, {f"CXTRACE_{name.upper()}": ""}), name) == by_line


@pytest.mark.parametrize(
    ("name", "off"),
    [("public_endpoint", False), ("consent_required", False), ("sample", 0), ("trusted_hosts", [])],
)
def test_argument_that_is_false_is_given(tmp_path: Path, name: str, off: Any) -> None:
    """False, zero and an empty list as arguments are decisions, not missing ones."""
    project(tmp_path, **{name: {"sample": 1, "trusted_hosts": ["a.com"]}.get(name, True)})

    assert not getattr(settled(tmp_path, **{name: off}), name)


@pytest.mark.parametrize(
    ("name", "variable", "line"),
    [
        ("service_name", "OTEL_SERVICE_NAME", "shop"),
        ("exporter", "OTEL_TRACES_EXPORTER", "console"),
        ("sample", "OTEL_TRACES_SAMPLER", 0.5),
    ],
)
def test_opentelemetry_in_the_environment_comes_before_the_file(
    tmp_path: Path, name: str, variable: str, line: Any
) -> None:
    """Where OpenTelemetry has a variable of its own, it is environment too, and comes before."""
    project(tmp_path, **{name: line})

    assert getattr(settled(tmp_path, {variable: "x"}), name) is None
    assert getattr(settled(tmp_path, {variable: ""}), name) == line
    assert getattr(settled(tmp_path, {variable: "x", f"CXTRACE_{name.upper()}": "1"}), name)


def test_key_comes_from_everywhere_but_the_file_that_is_shared(tmp_path: Path) -> None:
    """The key is argument, variable or a file that a variable names."""
    file = tmp_path / "key"
    file.write_text("the key of the file is long enough")

    def key_id(found: Settings) -> str | None:
        return None if found.key is None else found.key.key_id

    assert key_id(settled(tmp_path, {"CXTRACE_KEY": KEY})) == Key(KEY.encode()).key_id
    assert key_id(settled(tmp_path, {"CXTRACE_KEY": "x"}, key=KEY)) == Key(KEY.encode()).key_id
    assert (
        key_id(settled(tmp_path, {"CXTRACE_KEY_FILE": str(file)})) == Key(file.read_bytes()).key_id
    )
    project(tmp_path, key=KEY)
    message = failure(tmp_path)
    assert message.endswith(
        "tool.cxtrace.key: a secret does not belong in a file that is shared; "
        "use CXTRACE_KEY or CXTRACE_KEY_FILE"
    )
    assert KEY not in message


def test_map_comes_from_argument_variable_and_file(tmp_path: Path) -> None:
    """The map is a map, a path or several; the variable is ``CXTRACE_MAP``."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.toml").write_text(MAP.format(name))
    environ = {"CXTRACE_MAP": str(tmp_path / "b.toml")}
    made = JourneyMap.loads(MAP.format("made"))

    def name_of(found: Settings) -> str | None:
        return None if found.journey_map is None else found.journey_map.name

    assert name_of(settled(tmp_path, environ)) == "b"
    project(tmp_path, journey_map="c.toml")
    assert name_of(settled(tmp_path)) == "c"
    assert name_of(settled(tmp_path, environ)) == "b"
    assert name_of(settled(tmp_path, environ, journey_map=tmp_path / "a.toml")) == "a"
    assert name_of(settled(tmp_path, environ, journey_map=[str(tmp_path / "a.toml")])) == "a"
    assert settled(tmp_path, environ, journey_map=made).journey_map is made


def test_wrong_map_is_a_map_error(tmp_path: Path) -> None:
    """A map that is missing or wrong says so in its own words."""
    with pytest.raises(MapError, match="cannot be read"):
        settled(tmp_path, journey_map=tmp_path / "missing.toml")


def test_hook_is_an_argument_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A callable cannot stand in a variable or in a file; anything else is refused."""
    assert settled(tmp_path, on_friction=print).on_friction is print
    assert failure(tmp_path, on_friction="print") == (
        "configure(on_friction=…): 'print' must be a callable"
    )
    assert settled(tmp_path, {"CXTRACE_ON_FRICTION": "print"}).on_friction is None
    assert "CXTRACE_ON_FRICTION is not a setting" in caplog.text
    project(tmp_path, on_friction="print")
    assert "tool.cxtrace.on_friction is not a setting" in failure(tmp_path)


def test_exporter_may_be_an_object(tmp_path: Path) -> None:
    """An exporter of OpenTelemetry is taken as it is."""
    exporter = InMemorySpanExporter()

    assert settled(tmp_path, exporter=exporter).exporter is exporter


@pytest.mark.parametrize("word", ["1", "true", "True", "TRUE", "yes", "on", " On "])
def test_words_for_true(tmp_path: Path, word: str) -> None:
    """What people write for true is true."""
    assert settled(tmp_path, {"CXTRACE_PUBLIC_ENDPOINT": word}).public_endpoint is True


@pytest.mark.parametrize("word", ["0", "false", "False", "no", "off", " OFF "])
def test_words_for_false(tmp_path: Path, word: str) -> None:
    """What people write for false is false."""
    assert settled(tmp_path, {"CXTRACE_PUBLIC_ENDPOINT": word}).public_endpoint is False


@pytest.mark.parametrize("hosts", ["", "a.com", "a.com,", " a.com , *.b.com ,"])
def test_hosts_of_a_variable(tmp_path: Path, hosts: str) -> None:
    """A variable lists hosts with commas; blanks and empty places do not matter."""
    expected = tuple(host for host in ("a.com", "*.b.com") if host in hosts)

    assert settled(tmp_path, {"CXTRACE_TRUSTED_HOSTS": hosts}).trusted_hosts == expected


@pytest.mark.parametrize("ratio", [0, 1, 0.1, "0", "1", "1e-3", " 0.5 ", Decimal("0.1"), "0.0"])
def test_ratio(tmp_path: Path, ratio: Any) -> None:
    """Anything that is a number from 0 to 1 is a ratio."""
    assert settled(tmp_path, sample=ratio).sample == pytest.approx(float(ratio))


WRONG = [
    ("service_name", 7, "7 must be text that is not empty"),
    ("service_name", " ", "' ' must be text that is not empty"),
    ("exporter", 7, '7 must be "otlp", "console", "file:PATH", "none" or a SpanExporter'),
    ("exporter", "", "'' must be \"otlp\""),
    ("sample", 1.1, "1.1 must be a number from 0 to 1"),
    ("sample", -0.1, "-0.1 must be a number from 0 to 1"),
    ("sample", float("nan"), "nan must be a number from 0 to 1"),
    ("sample", float("inf"), "inf must be"),
    ("sample", 10**400, "must be a number from 0 to 1"),
    ("sample", "10%", "'10%' must be a number from 0 to 1"),
    ("sample", True, "True must be a number from 0 to 1"),
    ("sample", [1], "[1] must be a number from 0 to 1"),
    ("trusted_hosts", 7, "7 must be host names, such as"),
    ("trusted_hosts", ["https://a.com"], "must be host names, such as"),
    ("trusted_hosts", ["a.com."], "must be host names, such as"),
    ("trusted_hosts", ["a.com:443"], "must be host names, such as"),
    ("trusted_hosts", ["a.com", 7], "must be host names, such as"),
    ("trusted_hosts", {"a.com": 1}, "must be host names"),
    ("trust_inbound", "Signed", "'Signed' must be signed or always or never"),
    ("trust_inbound", 7, "7 must be signed or always or never"),
    ("trust_inbound", ["signed"], "must be signed or always or never"),
    ("unknown_destination", "ids", "'ids' must be nothing or names"),
    ("public_endpoint", "maybe", "'maybe' must be true or false"),
    ("public_endpoint", 1, "1 must be true or false"),
    ("consent_required", [], "[] must be true or false"),
    ("event_signal", "logs", "'logs' must be span or log or both"),
    ("record_exceptions", "all", "'all' must be scrubbed or full"),
    ("signals_off", "emotoin", 'value, forecast; did you mean "emotion"?'),
    ("signals_off", ["value", 7], "['value', 7] must be a list of friction, emotion,"),
    ("signals_off", True, "True must be a list of friction"),
    ("metrics_opt_in", "cx.mentions", "must be a list of cx.journey.active, cx.channel.name"),
    ("scrub", ["a b"], "must be true, false, or a list of keys and paths"),
    ("scrub", 7, "7 must be true, false, or a list"),
    ("metrics_opt_in", ["cx.journey.acitve"], 'did you mean "cx.journey.active"?'),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_argument(tmp_path: Path, name: str, value: Any, message: str) -> None:
    """A wrong argument is an error that names the argument, the value and what it must be."""
    found = failure(tmp_path, **{name: value})

    assert found.startswith(f"configure({name}=…): ")
    assert message in found


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, value, _ in WRONG if isinstance(value, str) and value],
)
def test_wrong_variable(tmp_path: Path, name: str, value: str) -> None:
    """A wrong variable is named as such."""
    variable = f"CXTRACE_{name.upper()}"

    assert failure(tmp_path, {variable: value}).startswith(f"{variable}: {value!r} must be ")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, value, _ in WRONG if isinstance(value, (str, bool, list))],
)
def test_wrong_line(tmp_path: Path, name: str, value: Any) -> None:
    """A wrong value in the project's file is named with the file."""
    path = project(tmp_path, **{name: value})

    assert failure(tmp_path).startswith(f"{path}: tool.cxtrace.{name}: {value!r} must be ")


@pytest.mark.parametrize("key", [7, ["x" * 40, 7], [["x" * 40]], [], b"", "", True])
def test_wrong_key_is_not_shown(tmp_path: Path, key: Any) -> None:
    """A key of a wrong type is an error that does not show what was given."""
    assert failure(tmp_path, key=key) == (
        "configure(key=…): must be text or bytes, or a list of such keys with the newest first"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sampel", "sample"),
        ("trusted_host", "trusted_hosts"),
        ("Exporter", "exporter"),
        ("journeymap", "journey_map"),
        ("service-name", "service_name"),
    ],
)
def test_unknown_key_with_a_suggestion(tmp_path: Path, written: str, meant: str) -> None:
    """A misspelt key in the project's file is an error that knows what was meant."""
    path = project(tmp_path, **{written: "x"})

    assert failure(tmp_path) == (
        f'{path}: tool.cxtrace.{written} is not a setting; did you mean "{meant}"?'
    )


def test_unknown_key_without_a_suggestion(tmp_path: Path) -> None:
    """A key that is like none lists all that there are."""
    project(tmp_path, zzzzzz=1)
    message = failure(tmp_path)

    assert "tool.cxtrace.zzzzzz is not a setting; it can be " in message
    assert set(re.findall(r"[a-z_]+", message.partition("it can be ")[2])) == (
        set(DEFAULTS) - {"on_friction", "pseudonymiser"}
    )


def test_what_is_no_path_is_no_key_file(tmp_path: Path) -> None:
    """A path that no file can have is an error that names it."""
    with pytest.raises(ConfigurationError, match=r"the file of keys 'a\\x00b' is no path"):
        settle({}, {"CXTRACE_KEY_FILE": "a\0b"}, tmp_path)


class BytesPath(os.PathLike[bytes]):
    """A path that is no text."""

    def __fspath__(self) -> bytes:
        return b"/a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("spool_max_bytes", value) for value in (True, 1.5, "1KB", "lots", "64 XB", -1, None)),
        *(("spool_max_age", value) for value in (True, 0, -1, "soon", "inf", "nan", None)),
        *(("spool_max_age", value) for value in ("h", "-1h", "0d", "infd", "500ms", "2 weeks")),
        ("spool_max_bytes", "64 M\N{LATIN SMALL LETTER DOTLESS I}B"),
        ("spool_max_age", "2 \N{LATIN SMALL LETTER LONG S}"),
        *(("spool", value) for value in (" ", 3, "~nobody.here/spool", "a\0b", BytesPath())),
    ],
)
def test_limits_of_the_spool_that_cannot_be(tmp_path: Path, name: str, value: Any) -> None:
    """A size that is none, a time that never ends, a folder without a name: each is refused."""
    if value is None:
        assert getattr(settled(tmp_path, {}, **{name: value}), name) == DEFAULTS[name]
    else:
        with pytest.raises(ConfigurationError, match=f"{name}=…"):
            settled(tmp_path, {}, **{name: value})


@pytest.mark.parametrize("name", ["sample", "spool_max_age", "spool_max_bytes", "trusted_hosts"])
def test_numbers_of_thousands_of_digits_are_not_written_out(tmp_path: Path, name: str) -> None:
    """A number that Python itself refuses to write is refused in words of ours."""
    assert failure(tmp_path, **{name: 10**5_000}).startswith(
        f"configure({name}=…): what is given must be "
    )


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *[("3600s", 3_600.0), ("90m", 5_400.0), ("2h", 7_200.0), ("1d", 86_400.0)],
        *[("1.5 H", 5_400.0), (" 1d ", 86_400.0), ("1e3", 1_000.0), (0.5, 0.5)],
    ],
)
def test_age_with_a_unit(tmp_path: Path, written: Any, seconds: float) -> None:
    """An age is a number of seconds, or text with a unit, as people say it."""
    assert settled(tmp_path, spool_max_age=written).spool_max_age == seconds


def test_age_that_cannot_be_says_what_can(tmp_path: Path) -> None:
    """The error shows what was written, and what to write instead."""
    assert failure(tmp_path, spool_max_age="2 weeks") == (
        "configure(spool_max_age=…): '2 weeks' must be a number of seconds above zero, such as "
        '3600, or "90m", "2h", "1d"'
    )


def test_exporters_that_need_no_spool(tmp_path: Path) -> None:
    """What writes on this machine has none; without a folder nothing has."""
    found = settled(tmp_path, {}, spool=tmp_path)

    assert found.spool_for("otlp") == SpoolSettings(tmp_path, 64 * 2**20, 86_400.0)
    assert (found.spool_for("console"), found.spool_for("file:a.jsonl")) == (None, None)
    assert settled(tmp_path).spool_for("otlp") is None


def test_deleted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose folder was deleted, as after a deployment, can still be configured."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    assert _settings._here() == Path(os.sep)
    assert settle({"exporter": "none"}, {}).exporter == "none"


def test_current_folder_is_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a start the project is that of the current folder."""
    project(tmp_path, service_name="shop")
    monkeypatch.chdir(tmp_path)

    assert settle({}, {}).service_name == "shop"


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(set(DEFAULTS) - {"journey_map"})), anything))
def test_any_argument_is_taken_or_refused_in_our_words(arguments: dict[str, Any]) -> None:
    """Whatever is given: settings of the right types, or a ``ConfigurationError``."""
    try:
        found = settle(arguments, {}, Path(os.sep))
    except ConfigurationError:
        return
    assert found.sample is None or 0 <= found.sample <= 1
    assert isinstance(found.public_endpoint, bool)
    assert isinstance(found.trusted_hosts, tuple)


@pytest.mark.parametrize("host", ["a.com", "*.a.com", "localhost", "10.0.0.1", "::1", "fe80::1"])
def test_host_that_can_be_trusted(tmp_path: Path, host: str) -> None:
    """A name, all names below one, or an address."""
    assert settled(tmp_path, trusted_hosts=[host]).trusted_hosts == (host,)


def test_misspelt_variable_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A variable of ours that does not exist is ignored, with a line that says so."""
    settled(tmp_path, {"CXTRACE_EXPORTR": "none", "CXTRACE_KEY_FILE": "", "CXTRACE_zzzzzz": ""})

    assert [record.getMessage() for record in caplog.records] == [
        "cxtrace: CXTRACE_EXPORTR is not a setting and is ignored; did you mean CXTRACE_EXPORTER?",
        "cxtrace: CXTRACE_zzzzzz is not a setting and is ignored",
    ]
