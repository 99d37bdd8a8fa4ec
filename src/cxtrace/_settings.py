"""The settings of ``configure()``: argument, environment, ``pyproject.toml`` or default."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

from attrs import field as attrs_field
from attrs import fields, frozen
from opentelemetry.sdk.trace.export import SpanExporter

from cxtrace import attributes as names
from cxtrace._keys import Sealed
from cxtrace._project import tool_table
from cxtrace._runtime import EventSignal, RecordExceptions, TrustInbound, UnknownDestination
from cxtrace._scrubbing import checked_keep
from cxtrace._spool.owner import stranger
from cxtrace.delivery import SpoolSettings
from cxtrace.exceptions import ConfigurationError
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Keys, StoredPseudonymiser, load_keys
from cxtrace.spool import MAX_AGE, MAX_BYTES
from cxtrace.typing import Pseudonymiser

# OpenTelemetry reads these by itself; in the environment, they come before a file.
_OTEL_NAMES: Final = {
    "service_name": "OTEL_SERVICE_NAME",
    "exporter": "OTEL_TRACES_EXPORTER",
    "sample": "OTEL_TRACES_SAMPLER",
}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_HOST: Final = re.compile(r"(?:\*\.)?[\w-]+(?:\.[\w-]+)*|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_SIZE: Final = re.compile(r"(\d{1,18})\s*((?:[kmg]i?)?b?)", re.IGNORECASE | re.ASCII)
_UNITS: Final = {
    "": 1,
    "b": 1,
    **{f"{unit}{end}": 1_000**at for at, unit in enumerate("kmg", 1) for end in ("", "b")},
    **{f"{unit}i{end}": 1_024**at for at, unit in enumerate("kmg", 1) for end in ("", "b")},
}
_LEAST_BYTES: Final = 2**20
_TIME: Final = re.compile(r"(.*\S)\s*([smhd])", re.IGNORECASE | re.ASCII)
_SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_OTHER_VARIABLES: Final = ("MAP", "KEY_FILE", "BACKENDS", "DIST")

SPOOLS: Final = "_CXTRACE_SPOOLS"
"""The variable by which the doctor tells its patient which spools to use: ``own`` or ``none``."""

SIGNALS: Final = (
    "friction",
    "emotion",
    "nudge",
    "promise",
    "feedback",
    "complaint",
    "mention",
    "handoff",
    "value",
    "forecast",
)
"""Kinds of signals, each of which ``signals_off`` can name."""

OPT_IN: Final = (
    names.METRIC_JOURNEY_ACTIVE,
    names.CHANNEL_NAME,
    names.CUSTOMER_SEGMENT,
    names.INTERACTION_NAME,
    names.JOURNEY_ROUTE,
)
"""Metrics, and labels of metrics, that are there only if ``metrics_opt_in`` names them."""

_logger = logging.getLogger("cxtrace")


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("text that is not empty")


def _ratio(value: Any) -> float:
    try:
        ratio = float(value)
    except (OverflowError, TypeError, ValueError):
        ratio = -1.0
    if isinstance(value, bool) or not 0.0 <= ratio <= 1.0:
        raise ValueError("a number from 0 to 1")
    return ratio


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("true or false")


def _hosts(value: object) -> tuple[str, ...]:
    found = value.split(",") if isinstance(value, str) else value
    if isinstance(found, (list, tuple)) and all(isinstance(host, str) for host in found):
        hosts = tuple(host.strip() for host in found if host.strip())
        if all(_HOST.fullmatch(host) for host in hosts):
            return hosts
    raise ValueError('host names, such as "api.example.com" or "*.example.com"')


def _kept(value: Any) -> tuple[str, ...] | None:
    with suppress(ValueError):
        return () if _flag(value) else None
    try:
        return checked_keep(value.split(",") if isinstance(value, str) else value)
    except ConfigurationError:
        msg = 'true, false, or a list of keys and paths, such as "app.*" and "/payments/{id}"'
        raise ValueError(msg) from None


def _exporter(value: object) -> str | SpanExporter:
    if isinstance(value, SpanExporter):
        return value
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError('"otlp", "console", "file:PATH", "none" or a SpanExporter')


def _key(value: Any) -> Any:
    given = value.opened() if isinstance(value, Sealed) else value
    each = given if isinstance(given, (list, tuple)) else (given,)
    if each and all(isinstance(key, (str, bytes)) and key for key in each):
        return given
    raise ValueError("text or bytes, or a list of such keys with the newest first")


def _folder(value: object) -> Path:
    if isinstance(value, (str, os.PathLike)) and str(value).strip() and "\0" not in str(value):
        with suppress(RuntimeError, TypeError):  # nobody's home, or a path of bytes
            return Path(value).expanduser().absolute()
    raise ValueError("a folder on a disk of this machine")


def _bytes(value: Any) -> int:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        written = value if isinstance(value, str) else _shown(value)
        found = _SIZE.fullmatch(written.strip())
        size: int = int(found[1]) * _UNITS[found[2].lower()] if found else 0
        if size >= _LEAST_BYTES:
            return size
    raise ValueError('a number of bytes such as 67108864 or "64MiB", and a MiB at least')


def _seconds(value: Any) -> float:
    text = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        found = float(text[1]) * _SECONDS_OF[text[2].lower()] if text else float(value)
    except (OverflowError, TypeError, ValueError):
        found = 0.0
    if isinstance(value, bool) or not 0.0 < found < float("inf"):
        raise ValueError('a number of seconds above zero, such as 3600, or "90m", "2h", "1d"')
    return found


def _choice(choices: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value in choices:
            return str(value)
        raise ValueError(" or ".join(choices))

    return parse


def _words(known: tuple[str, ...]) -> Callable[[object], frozenset[str]]:
    def parse(value: object) -> frozenset[str]:
        found = value.split(",") if isinstance(value, str) else value
        if not isinstance(found, (list, tuple, set, frozenset)):
            raise ValueError(f"a list of {', '.join(known)}")
        words = [word.strip() if isinstance(word, str) else word for word in found]
        unknown = [word for word in words if word != "" and word not in known]
        if unknown:
            near = get_close_matches(str(unknown[0]), known, 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f"a list of {', '.join(known)}{hint}")
        return frozenset(word for word in words if word != "")

    return parse


def _setting(parse: Callable[[Any], Any], default: Any = None) -> Any:
    return attrs_field(default=default, metadata={"parse": parse})


@frozen
class Settings:
    """What was decided for this process. ``configure()`` tells what each means."""

    service_name: str | None = _setting(_text)
    exporter: str | SpanExporter | None = _setting(_exporter)
    sample: float | None = _setting(_ratio)
    key: Keys | None = attrs_field(default=None, repr=False, metadata={"parse": _key})
    pseudonymiser: Pseudonymiser | None = None
    trusted_hosts: tuple[str, ...] = _setting(_hosts, ())
    trust_inbound: TrustInbound = _setting(_choice(get_args(TrustInbound)), "signed")
    unknown_destination: UnknownDestination = _setting(
        _choice(get_args(UnknownDestination)), "nothing"
    )
    public_endpoint: bool = _setting(_flag, False)
    consent_required: bool = _setting(_flag, False)
    event_signal: EventSignal | None = _setting(_choice(get_args(EventSignal)))
    signals_off: frozenset[str] = _setting(_words(SIGNALS), frozenset())
    metrics_opt_in: frozenset[str] = _setting(_words(OPT_IN), frozenset())
    record_exceptions: RecordExceptions | None = _setting(_choice(get_args(RecordExceptions)))
    spool: Path | None = _setting(_folder)
    spool_max_bytes: int = _setting(_bytes, MAX_BYTES)
    spool_max_age: float = _setting(_seconds, MAX_AGE)
    scrub: tuple[str, ...] | None = _setting(_kept)
    on_friction: Callable[[Any], object] | None = None
    journey_map: JourneyMap | None = None

    def spool_for(self, exporter: object, number: int = 0) -> SpoolSettings | None:
        """The spool of an exporter; what writes on this machine needs none.

        The doctor sees to it that none is used in its patient that belongs to another user, nor
        any without a probe.

        Args:
            exporter: By name, or as an object.
            number: Of several exporters, each of which has a folder of its own.
        """
        is_here = isinstance(exporter, str) and exporter.partition(":")[0] in {"console", "file"}
        if self.spool is None or is_here:
            return None
        folder = self.spool / str(number) if number else self.spool
        allowed = os.environ.get(SPOOLS)
        if allowed == "none" or (allowed == "own" and stranger(folder) is not None):
            return None
        return SpoolSettings(folder, self.spool_max_bytes, self.spool_max_age)


def settle(
    arguments: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    start: Path | None = None,
) -> Settings:
    """The settings of this process.

    Args:
        arguments: Of ``configure()``; None means not given.
        environ: ``CXTRACE_<ARGUMENT>`` in capitals.
        start: Folder from which ``pyproject.toml`` is looked for upwards.

    Raises:
        ConfigurationError: A setting is unknown or cannot be what it is. The message names where
            it was set and what to write instead.
        MapError: The journey map is wrong.
    """
    start = _here() if start is None else start
    project, table = tool_table(start)
    _refuse_unknown(project, table)
    _warn_of_unknown(environ)
    found: dict[str, Any] = {}
    for name, parse in _parsers().items():
        value, place = _first(name, arguments, environ, table, project)
        if value is not None:
            found[name] = _parsed(parse, value, place, secret=name == "key")
    found["key"] = load_keys(found.get("key"), environ)
    found["pseudonymiser"] = _pseudonymiser(arguments.get("pseudonymiser"), found["key"])
    found["on_friction"] = _callable("on_friction", arguments)
    found["journey_map"] = _map(arguments.get("journey_map"), environ, start)
    return Settings(**found)


def are_given(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether anybody has set anything of ours, in the environment or ``pyproject.toml``."""
    given = any(name.startswith("CXTRACE_") for name in environ)
    return given or bool(tool_table(_here())[1])


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:  # the folder was deleted under a process that runs on
        return Path(os.sep)


def _parsers() -> dict[str, Callable[[Any], Any]]:
    return {
        field.name: field.metadata["parse"]
        for field in fields(Settings)
        if "parse" in field.metadata
    }


def _first(
    name: str,
    arguments: Mapping[str, Any],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
    project: Path | None,
) -> tuple[Any, str]:
    if arguments.get(name) is not None:
        return arguments[name], f"configure({name}=…)"
    variable = f"CXTRACE_{name.upper()}"
    if environ.get(variable):
        return environ[variable], variable
    if environ.get(_OTEL_NAMES.get(name, "")):
        return None, ""
    return table.get(name), f"{project}: tool.cxtrace.{name}"


def _parsed(parse: Callable[[Any], Any], value: Any, place: str, *, secret: bool) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        shown = "" if secret else f"{_shown(value)} "
        raise ConfigurationError(f"{place}: {shown}must be {error}") from None


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python does not write numbers of thousands of digits
        return "what is given"


def _pseudonymiser(given: Any, keys: Keys | None) -> Any:
    if isinstance(given, StoredPseudonymiser):
        given.use(keys)
    elif given is not None and not callable(getattr(given, "pseudonym", None)):
        raise ConfigurationError(
            "configure(pseudonymiser=…) must be one of cxtrace.privacy, or follow "
            "cxtrace.typing.Pseudonymiser"
        )
    return given


def _callable(name: str, arguments: Mapping[str, Any]) -> Any:
    value = arguments.get(name)
    if value is not None and not callable(value):
        raise ConfigurationError(f"configure({name}=…): {value!r} must be a callable")
    return value


def _refuse_unknown(project: Path | None, table: Mapping[str, Any]) -> None:
    known = [*_parsers(), "journey_map"]
    for key in table:
        if key == "key":
            raise ConfigurationError(
                f"{project}: tool.cxtrace.key: a secret does not belong in a file that is shared; "
                "use CXTRACE_KEY or CXTRACE_KEY_FILE"
            )
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"it can be {', '.join(known)}"
            raise ConfigurationError(f"{project}: tool.cxtrace.{key} is not a setting; {hint}")


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [*(name.upper() for name in _parsers()), *_OTHER_VARIABLES]
    for variable in environ:
        prefix, _, name = variable.partition("_")
        if prefix == "CXTRACE" and name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean CXTRACE_{near[0]}?" if near else ""
            _logger.warning("cxtrace: %s is not a setting and is ignored%s", variable, hint)


def _map(given: Any, environ: Mapping[str, str], start: Path) -> JourneyMap | None:
    return given if isinstance(given, JourneyMap) else JourneyMap.find(given, environ, start)
