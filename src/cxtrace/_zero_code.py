"""What OpenTelemetry's automatic and declarative configuration start in a service nobody edits."""

import logging
from typing import Any

from cxtrace import _config, _guard
from cxtrace._settings import are_given
from cxtrace.exceptions import CXTraceError

_logger = logging.getLogger("cxtrace")


def begin() -> None:
    """Configure cxtrace out of the environment, before the service's own code runs.

    Does nothing where no setting of ours is in sight: to be installed is not to be wanted. A wrong
    setting is logged, and the service goes on without us. Never raises.
    """
    try:
        if _config.wiring is None and are_given():
            _config.configure()
    except CXTraceError as error:
        _logger.error("cxtrace is off: %s", error)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("zero_code", error)


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
            _config.configure(**options)
        except (CXTraceError, TypeError) as error:
            _logger.error("cxtrace is off: %s", error)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("zero_code", error)
