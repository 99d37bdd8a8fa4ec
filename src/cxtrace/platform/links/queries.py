"""Searches in the language of each store; ``encoding.encoded`` brings them into an address.

Sources: https://grafana.com/docs/tempo/latest/traceql/,
https://docs.victoriametrics.com/victoriatraces/querying/ and https://brandur.org/logfmt, in which
Grafana writes the tags of a search in Jaeger.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cxtrace.platform.links.encoding import as_json, quoted, text
from cxtrace.platform.links.searches import Search, is_of_events

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def tags(search: Search) -> str:
    """The search as Jaeger takes it, which looks for them in spans and in their events."""
    return as_json({name: text(value) for name, value in search.attributes.items()})


def logfmt(search: Search) -> str:
    """The same as Grafana's data source for Jaeger takes it."""
    return " ".join(f"{name}={quoted(value)}" for name, value in search.attributes.items())


def traceql(search: Search, matching: Mapping[str, str] = _NOTHING) -> str:
    """The search in Tempo's language.

    Args:
        search: What is looked for.
        matching: More attributes, each with a regular expression for its value.
    """
    wanted = [f"{_scoped(name)} = {quoted(value)}" for name, value in search.attributes.items()]
    wanted += [f"{_scoped(name)} =~ {quoted(value)}" for name, value in matching.items()]
    return f"{{ {' && '.join(wanted)} }}"


def _scoped(attribute: str) -> str:
    return f"{'event' if is_of_events(attribute) else 'span'}.{attribute}"


def logsql(search: Search) -> str:
    """The search in the language of VictoriaTraces.

    Raises:
        ValueError: It is in events, each of which is kept under a number of its own.
    """
    if search.is_of_events:
        raise ValueError("VictoriaTraces does not search the events of spans")
    wanted = (f'"span_attr:{name}":={quoted(value)}' for name, value in search.attributes.items())
    return " ".join(wanted)
