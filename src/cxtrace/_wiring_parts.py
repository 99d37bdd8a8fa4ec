"""The live parts of OpenTelemetry and of others: processors, exporters, samplers, and their names.

The SDK has no public way to most of them, and others build theirs as they like: what cannot be
read is left out.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

_INSIDE: Final = (
    *("_active_span_processor", "_multi_log_record_processor", "_span_processors"),
    *("_log_record_processors", "processor", "_processor", "provider"),
)
"""Where providers and processors keep the processors within."""
_ENDPOINTS: Final = ("_endpoint", "endpoint", "_url", "url")
_HEADERS: Final = ("_headers", "headers")
_DEEPEST: Final = 6
_HELPERS: Final = 3


def attempt(ask: Callable[[], Any], otherwise: Any = None) -> Any:
    """What the call gives; parts of others may be of any version, and anything."""
    try:
        return ask()
    except Exception:  # noqa: BLE001  nothing was lost by it, so nothing is counted
        return otherwise


def name_of(part: object) -> str:
    """Class and module of a part."""
    kind = part if isinstance(part, type) else type(part)
    return f"{kind.__module__}.{kind.__qualname__}"


def owner_of(part: object) -> str:
    """The package that a part comes from."""
    return name_of(part).partition(".")[0]


def processors_of(provider: Any) -> Iterator[Any]:
    """The processors, or readers of metrics, of a provider, each on its own."""
    # The older SDK keeps the readers of metrics in its configuration.
    for holder in (provider, getattr(provider, "_sdk_config", None)):
        for name in ("_metric_readers", "metric_readers"):
            readers = getattr(holder, name, None)
            if readers is not None:
                yield from readers
                return
    if hasattr(provider, "get_meter"):
        return
    yield from _inside(provider, 0)


def _inside(part: Any, depth: int) -> Iterator[Any]:
    own = getattr(part, "__dict__", {})
    inner = [own[name] for name in _INSIDE if name in own]
    if depth > _DEEPEST or not inner:
        yield part
        return
    for each in inner[0] if isinstance(inner[0], (tuple, list)) else inner[:1]:
        yield from _inside(each, depth + 1)


def exporter_of(part: Any) -> Any:
    """The innermost exporter that a processor or reader hands to; None if there is none."""
    found = None
    for _ in range(_DEEPEST):
        inner = next(filter(_exports, _held(part)), None)
        if inner is None:
            break
        found = part = inner
        if endpoint_of(found) is not None:  # what it holds is how it gets there
            break
    return found


def scrub_of(part: Any) -> tuple[str, ...] | None:
    """What a processor lets through beside the list of what may leave; None where all leaves."""
    scrubber = next((each for each in _held(part) if type(each).__name__ == "Scrubber"), None)
    return None if scrubber is None else scrubber.kept


def _held(part: Any) -> Iterator[Any]:
    """What a part holds, then what its helpers hold, and theirs."""
    holders = [part]
    for _ in range(_HELPERS):
        values = [value for each in holders for value in _values(each)]
        yield from values
        holders = [value for value in values if _is_helper(value)]


def _is_helper(value: object) -> bool:
    return type(value).__name__ == "BatchProcessor" or owner_of(value) == "cxtrace"


def _values(part: Any) -> Iterator[Any]:
    yield from list(getattr(part, "__dict__", {}).values())
    for kind in type(part).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(part, name, None)


def _exports(value: object) -> bool:
    kind = type(value)
    return callable(getattr(kind, "export", None)) and callable(getattr(kind, "shutdown", None))


def endpoint_of(exporter: Any) -> str | None:
    """Where an exporter sends to, without secrets; None where it does not say."""
    found = next(filter(None, (getattr(exporter, each, None) for each in _ENDPOINTS)), None)
    if not isinstance(found, str):
        return None
    if "://" not in found:
        # OpenTelemetry's exporter over gRPC keeps the host and forgets the scheme.
        found = f"{'http' if getattr(exporter, '_insecure', True) else 'https'}://{found}"
    return without_secrets(found)


def headers_of(exporter: Any) -> dict[str, str]:
    """The headers that an exporter sends along. Their values may be secrets."""
    holders = (exporter, getattr(exporter, "_client", None), getattr(exporter, "_session", None))
    for holder in holders:
        for name in _HEADERS:
            found = getattr(holder, name, None)
            if isinstance(found, (Mapping, tuple)) and found:
                return {str(key): str(value) for key, value in dict(found).items()}
    return {}


def without_secrets(url: str) -> str:
    """An address without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    if not parts.netloc:
        return url.rpartition("@")[2].partition("?")[0]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def within(provider: Any) -> Any:
    """The provider of the SDK within that of others, such as logfire's."""
    return getattr(provider, "provider", provider)


def sampler_of(provider: Any) -> Any:
    """The sampler of a provider, without ours around it; None where it has none, or hides it."""
    sampler = getattr(within(provider), "sampler", None)
    while owner_of(sampler) == "cxtrace":
        sampler = getattr(sampler, "inner", None)
    return sampler
