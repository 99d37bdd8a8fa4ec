"""Log lines that say whose journey they are about: with logging, and with structlog."""

import logging
import sys

import structlog

import cxtrace
from cxtrace import customer, journey, touchpoint
from cxtrace.logs import ContextFilter, add_context

LINE = "%(levelname)s %(message)s [%(cx_journey_name)s %(cx_touchpoint_name)s %(trace_id)s]"

log = logging.getLogger("shop")
events = structlog.get_logger()


def set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(ContextFilter())
    handler.setFormatter(logging.Formatter(LINE))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def set_up_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            add_context,
            structlog.processors.JSONRenderer(),
        ]
    )


@touchpoint("checkout.pay")
def pay(amount: float) -> None:
    log.warning("card declined")
    events.warning("card declined", amount=amount)


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter="none")
    set_up_logging()
    set_up_structlog()
    log.info("shop is open")
    with journey("first_order"), customer("cust-42", consent="granted"):
        pay(149.90)
