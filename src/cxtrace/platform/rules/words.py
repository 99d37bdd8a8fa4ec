"""Text of alerts, in two ways: as a template for Prometheus, and as Prometheus will fill it in."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol
from urllib.parse import quote_plus

from attrs import frozen

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links.encoding import Placeholder
from cxtrace.platform.rules.queries import SERVICE

NOBODY: Final = "the map names no contact"


class Speaker(Protocol):
    """Says what an alert says."""

    def text(self, text: str) -> str:
        """A text of the map, word for word."""
        ...

    def label(self, name: str) -> str:
        """The value of a label."""
        ...

    def value(self, filter_: str) -> str:
        """The value of the alert, passed through a filter of Prometheus."""
        ...

    def contact(self, label: str, contacts: Mapping[str, str]) -> str:
        """How to reach the function that a label names."""
        ...

    def in_link(self, name: str) -> Placeholder:
        """The value of a label, for a link."""
        ...

    def service(self, query: str, labels: Iterable[str], otherwise: str) -> Placeholder:
        """The service that a query of ``queries.busiest`` names, for a link.

        Args:
            query: What Prometheus is asked when the alert fires.
            labels: Of the alert; their values belong into the query.
            otherwise: What is said where the answer names none.
        """
        ...


class Template:
    """Speaks in templates of Prometheus, where labels and values come in later."""

    def text(self, text: str) -> str:
        """A brace could begin an action of the template, hence a text that Go reads as a string."""
        return "{{ " + _go_string(text) + " }}" if "{" in text else text

    def label(self, name: str) -> str:
        """The value of a label."""
        return "{{ $labels." + name + " }}"

    def value(self, filter_: str) -> str:
        """The value of the alert, passed through a filter of Prometheus."""
        return "{{ $value | " + filter_ + " }}"

    def contact(self, label: str, contacts: Mapping[str, str]) -> str:
        """How to reach the function that a label names."""
        cases = [
            f"if eq $labels.{label} {_go_string(name)} }}}}{self.text(contact)}{{{{ "
            for name, contact in contacts.items()
        ]
        if not cases:
            return NOBODY
        return "{{ " + "else ".join(cases) + "else }}" + NOBODY + "{{ end }}"

    def in_link(self, name: str) -> Placeholder:
        """The value of a label, for a link."""
        return Placeholder("{{ $labels." + name + " | urlquery }}")

    def service(self, query: str, labels: Iterable[str], otherwise: str) -> Placeholder:
        """The service that a query of ``queries.busiest`` names, for a link."""
        asked = " ".join([_go_string(query), *(f"$labels.{name}" for name in labels)])
        return Placeholder(
            f"{{{{ $service := {_go_string(otherwise)} }}}}"
            f"{{{{ range query (printf {asked}) }}}}"
            f'{{{{ with label "{SERVICE}" . }}}}{{{{ $service = . }}}}{{{{ end }}}}{{{{ end }}}}'
            "{{ $service | urlquery }}"
        )


@frozen
class Filled:
    """Speaks as Prometheus will, for one alert.

    Attributes:
        labels: Of the alert.
        values: The value of the alert, as each filter shows it.
    """

    labels: Mapping[str, str]
    values: Mapping[str, str]

    def text(self, text: str) -> str:
        """A text of the map, word for word."""
        return text

    def label(self, name: str) -> str:
        """The value of a label."""
        return self.labels[name]

    def value(self, filter_: str) -> str:
        """The value of the alert, passed through a filter of Prometheus."""
        return self.values[filter_]

    def contact(self, label: str, contacts: Mapping[str, str]) -> str:
        """How to reach the function that a label names."""
        return contacts.get(self.labels[label], NOBODY)

    def in_link(self, name: str) -> Placeholder:
        """The value of a label, for a link, encoded as the template does it."""
        return Placeholder(quote_plus(self.labels[name]))

    def service(self, query: str, labels: Iterable[str], otherwise: str) -> Placeholder:
        """What is said where no series names a service, encoded as the template does it."""
        return Placeholder(quote_plus(otherwise))


Annotations = Callable[[Speaker], dict[str, str]]
"""What an alert says, in either way."""


def contacts_of(functions: Iterable[str], journey_map: JourneyMap) -> dict[str, str]:
    """How to reach these functions, for those that say so in the map."""
    known = journey_map.functions
    return {
        name: contact
        for name in functions
        if name in known and (contact := known[name].contact) is not None
    }


def listed(items: Iterable[str], most: int = 8) -> str:
    """Some of the items, and how many more there are."""
    every = list(items)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _go_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
