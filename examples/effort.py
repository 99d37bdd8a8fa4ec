"""What a login costs the customer: ``python examples/effort.py``."""

from in_the_terminal import look, set_up, spans

from cxtrace import interaction, touchpoint


def log_in() -> None:
    with touchpoint("account.login"):
        with interaction("enter_password"):
            ...  # wrong
        with interaction("enter_password"):
            ...  # wrong again
        with interaction("reset_password"):
            ...


if __name__ == "__main__":
    set_up()
    log_in()
    look("cx.touchpoint.effort")
    for key, value in spans.get_finished_spans()[-1].attributes.items():
        if key.startswith("cx.effort."):
            print(key, value)
