"""A nudge behind a feature flag of OpenFeature: ``python examples/feature_flag.py``."""

from in_the_terminal import look, set_up
from openfeature import api
from openfeature.flag_evaluation import FlagEvaluationOptions
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from cxtrace import interaction, journey, touchpoint
from cxtrace.integrations.openfeature import SHOWN_BEFORE, Nudge, NudgeHook, exposure

BARS = {"a": "Free shipping from 50 €", "b": "Only 4.10 € to free shipping", "off": ""}

api.set_provider(InMemoryProvider({"free_shipping_bar": InMemoryFlag("b", BARS)}))
api.add_hooks([NudgeHook({"free_shipping_bar": Nudge(technique="incentive")})])
flags = api.get_client()


@touchpoint("cart.view")
def view_cart() -> str:
    return flags.get_string_value("free_shipping_bar", "")  # the exposure, with its variant


@touchpoint("cart.view")
def take_one_more() -> None:
    # A later request. The flag gives the variant again, and this time nothing is shown.
    again = FlagEvaluationOptions(hook_hints=SHOWN_BEFORE)
    flags.get_string_value("free_shipping_bar", "", flag_evaluation_options=again)
    with interaction("change_quantity"):
        exposure("free_shipping_bar").accepted()


if __name__ == "__main__":
    set_up()
    with journey("first_order"):
        view_cart()
        take_one_more()
    look("cx.nudge.")
