"""What a platform team says of itself, and no map can know."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from cxtrace.platform.prometheus import label

LEAST: Final = 5
"""How many times something must have happened before anybody is called, if nothing else is said."""


def _labels(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(value))


@frozen
class Options:
    """How rules are made.

    Attributes:
        jaeger_url: Where Jaeger's page is; without it alerts have no link to traces.
        grafana_url: Where Grafana is; without it alerts have no link to a dashboard.
        service: The service to search in Jaeger, which asks for one; by default that in which
            most has happened.
        least: Below so many events within its window, an alert stays silent.
        only: Labels, and the values that series must have to be counted.
    """

    jaeger_url: str | None = None
    grafana_url: str | None = None
    service: str | None = None
    least: int = LEAST
    only: Mapping[str, str] = field(factory=dict, converter=_labels, hash=False)

    def service_of_series(self) -> str | None:
        """The only service that is counted, if ``only`` says so."""
        only = {label(name): value for name, value in self.only.items()}
        job = only.get("job", "").rpartition("/")[2]
        return only.get("service_name") or job or None
