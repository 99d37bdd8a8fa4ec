"""What OpenTelemetry's automatic and declarative configuration start in a service nobody edits."""

import inspect
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from cxtrace import _config, _guard
from cxtrace._settings import are_given
from cxtrace.exceptions import ConfigurationError, CXTraceError

_SETTINGS: Final = tuple(inspect.signature(_config.configure).parameters)

_logger = logging.getLogger("cxtrace")


def begin() -> None:
    """Configure cxtrace out of the environment, before the service's own code runs.

    Does nothing where no setting of ours is in sight: to be installed is not to be wanted. A wrong
    setting is logged, and the service goes on without us. Never raises.
    """
    try:
        if _config.wiring is None and are_given():
            _config.configure()
            _say_so()
    except CXTraceError as error:
        _logger.error("cxtrace is off: %s", error)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("zero_code", error)


def _say_so() -> None:
    wired = _config.wiring
    journey_map = None if wired is None else wired.settings.journey_map
    if wired is not None:
        _logger.info(
            "cxtrace is on: provider %s, exporter %s, journey map %s",
            wired.mode,
            wired.named,
            "none" if journey_map is None else f"{journey_map.name} {journey_map.version}",
        )


class CXInstrumentor:
    """What ``instrumentation/development: python: cxtrace:`` in ``OTEL_CONFIG_FILE`` starts."""

    is_instrumented_by_opentelemetry = False

    def instrument(self, *, skip_dep_check: bool = True, **options: Any) -> None:
        """Configure cxtrace. Never raises.

        Args:
            skip_dep_check: What ``opentelemetry-instrument`` says; of no meaning here.
            options: Arguments of ``cxtrace.configure``.
        """
        if not options:
            begin()
            return
        try:
            _refuse_unknown(options)
            _config.configure(**options)
        except CXTraceError as error:
            _logger.error("cxtrace is off: %s", error)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("zero_code", error)


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _SETTINGS:
            near = get_close_matches(name, _SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it can be {', '.join(_SETTINGS)}"
            raise ConfigurationError(f"OTEL_CONFIG_FILE: cxtrace has no setting {name!r}; {hint}")
