"""What the services log: JSON on standard error, and OTLP where OTEL_LOGS_EXPORTER says so.

structlog makes the events and hands them to `logging`, where OpenTelemetry's handler waits for
them. Both know whose journey an event is about. Write no customer into one: nothing looks at it.
"""

import logging

import structlog
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from cxtrace.logs import ContextFilter, add_context


def set_up() -> None:
    """To be called after `cxtrace.configure()`, which decides where log records go."""
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    lines = logging.StreamHandler()
    lines.setFormatter(
        ProcessorFormatter(
            processors=[
                structlog.stdlib.add_log_level,
                ExtraAdder(),
                add_context,
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ]
        )
    )
    logging.basicConfig(handlers=[lines])
    logging.getLogger("shop").setLevel(logging.INFO)
    LoggingInstrumentor().instrument()
    for handler in logging.getLogger().handlers:
        if handler is not lines:
            handler.addFilter(ContextFilter(otlp=True))
