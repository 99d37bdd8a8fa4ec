"""What retries by stamina and by tenacity cost the customer: ``python examples/retries.py``."""

import stamina
from in_the_terminal import look, set_up, spans
from tenacity import retry, stop_after_attempt, wait_fixed

from cxtrace import interaction, touchpoint
from cxtrace.integrations.stamina import instrument
from cxtrace.integrations.tenacity import count_retry


class BankError(Exception):
    """The bank does not answer."""


answers = iter(["", "", "yes", "", "yes"])


def ask_the_bank() -> None:
    if not next(answers):
        raise BankError


@stamina.retry(on=BankError, attempts=3, wait_initial=0.01, wait_jitter=0)
def charge() -> None:
    ask_the_bank()


@retry(stop=stop_after_attempt(3), wait=wait_fixed(0.01), before_sleep=count_retry)
def refund() -> None:
    ask_the_bank()


@touchpoint("checkout.pay")
def pay() -> None:
    with interaction("confirm"):  # around the retries: the customer has done this once
        charge()


@touchpoint("return.request")
def return_goods() -> None:
    refund()


if __name__ == "__main__":
    set_up()
    instrument()  # once, where the application starts: counts all retries of stamina
    pay()
    return_goods()
    look("cx.touchpoint.effort")
    for span in spans.get_finished_spans():
        for key, value in (span.attributes or {}).items():
            if key.startswith("cx.effort."):
                print(span.name, key, value)
