"""Retries by stamina and tenacity: counted, waited for, and otherwise as if we were not there."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cxtrace
from cxtrace import _guard, interaction, touchpoint
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock

stamina = pytest.importorskip("stamina")
tenacity = pytest.importorskip("tenacity")

from stamina import instrumentation  # noqa: E402

from cxtrace.integrations import stamina as ours_for_stamina  # noqa: E402
from cxtrace.integrations import tenacity as ours_for_tenacity  # noqa: E402

MAP = JourneyMap.loads(
    """
    schema = "cxtrace.map/1"
    name = "shop"
    functions = { it = {} }
    [[stage]]
    name = "buy"
    phase = "customer"
    [[touchpoint]]
    name = "cart.pay"
    stage = "buy"
    owner = "it"
    initiator = "customer"
    """
)
CARD = "4111 1111 1111 1111"


class BankError(Exception):
    """The bank does not answer."""


class Bank:
    """A bank that does not answer a number of times."""

    def __init__(self, failures: int = 2) -> None:
        self.failures = failures
        self.calls = 0

    def ask(self, card: str) -> str:
        """Whether the card is good."""
        self.calls += 1
        if self.calls <= self.failures:
            raise BankError(f"no answer for {card}")
        return "yes"

    async def ask_async(self, card: str) -> str:
        """Whether the card is good."""
        return self.ask(card)


@pytest.fixture
def shop(cx: Capture) -> Capture:
    """A shop with a map."""
    cx.use(journey_map=MAP)
    return cx


@pytest.fixture
def hooks() -> Iterator[list[Any]]:
    """Hooks of the host, which see each retry; afterwards stamina has its own again."""
    seen: list[Any] = []
    instrumentation.set_on_retry_hooks([seen.append])
    yield seen
    instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def counted(hooks: list[Any]) -> list[Any]:
    """Count beside the hooks of the host."""
    ours_for_stamina.instrument()
    return hooks


def retrying(attempts: int = 3, seconds: float = 0.0) -> Any:
    """A retry of stamina that waits for so long."""
    waits = dict.fromkeys(("wait_initial", "wait_max"), seconds)
    return stamina.retry(on=BankError, attempts=attempts, wait_jitter=0.0, **waits)


def service_retries(cx: Capture, name: str = "cart.pay") -> Any:
    """How often the service tried again, as the touchpoint's span says."""
    return cx.tags(name).get("cx.effort.service_retries")


def nothing_of_the_call(cx: Capture) -> bool:
    """Whether neither the argument nor the exception's text was sent."""
    sent = repr([(s.name, dict(s.attributes or {}), s.events) for s in cx.spans])
    return CARD not in sent and "no answer" not in sent


# stamina


def test_retries_of_stamina_are_counted(shop: Capture, counted: list[Any]) -> None:
    """Each retry counts for the current touchpoint; the value and the host's hooks are as ever."""
    bank = Bank()
    with touchpoint("cart.pay"):
        answer = retrying()(bank.ask)(CARD)

    assert (answer, bank.calls, len(counted)) == ("yes", 3, 2)
    assert service_retries(shop) == 2
    assert shop.tags("cart.pay")["cx.effort.retries"] == 0
    assert shop.tags("cart.pay")["cx.effort.actions"] == 1
    assert nothing_of_the_call(shop)


def test_async_retries_of_stamina_are_counted(shop: Capture, counted: list[Any]) -> None:
    """A coroutine function that is tried again counts in the same way."""

    async def pay() -> Any:
        async with touchpoint("cart.pay"):
            return await retrying()(Bank().ask_async)(CARD)

    assert asyncio.run(pay()) == "yes"
    assert service_retries(shop) == 2


def test_the_time_until_a_retry_is_waiting(shop: Capture, counted: list[Any], clock: Clock) -> None:
    """Outside of interactions the seconds until a retry are added; inside they are measured."""
    with touchpoint("cart.pay"):
        with interaction("confirm"):
            clock.tick(1)
            retrying(seconds=0.001)(Bank(1).ask)(CARD)
        clock.tick(1)
        retrying(seconds=0.001)(Bank(1).ask)(CARD)

    waited = 1.0 + counted[1].wait_for
    assert shop.tags("cart.pay")["cx.effort.wait_time"] == pytest.approx(waited)
    assert counted[1].wait_for > 0


def test_each_attempt_may_be_a_touchpoint(shop: Capture, counted: list[Any]) -> None:
    """With the touchpoint inside of the retry, each attempt is a visit, and none of them waits."""
    retrying()(touchpoint("cart.pay")(Bank().ask))(CARD)

    outcomes = [(span.attributes or {})["cx.touchpoint.outcome"] for span in shop.spans]
    assert outcomes == ["failed", "failed", "completed"]
    assert all("cx.effort.service_retries" not in (span.attributes or {}) for span in shop.spans)
    assert _guard.counts() == {}


def test_the_hosts_exception_flies_on(shop: Capture, counted: list[Any]) -> None:
    """When the attempts are used up, the host's own exception is what is raised."""
    with pytest.raises(BankError), touchpoint("cart.pay"):
        retrying()(Bank(9).ask)(CARD)

    assert service_retries(shop) == 2
    assert shop.outcome("cart.pay") == "failed"
    assert nothing_of_the_call(shop)


def broken(*_: object) -> Any:
    """Stands for a fault of ours."""
    raise ZeroDivisionError


def test_our_error_in_a_hook_of_stamina_stays_ours(
    shop: Capture, counted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in our hook neither stops the retries nor replaces the exception."""
    monkeypatch.setattr(ours_for_stamina, "current_touchpoint", broken)
    with touchpoint("cart.pay"):
        assert retrying()(Bank().ask)(CARD) == "yes"

    assert _guard.counts() == {"errors.stamina": 2}


def test_instrumenting_adds_and_takes_away_one_hook(hooks: list[Any]) -> None:
    """Hooks that are there stay, ours is there once, and goes alone."""
    before = instrumentation.get_on_retry_hooks()

    ours_for_stamina.uninstrument()
    assert instrumentation.get_on_retry_hooks() == before
    ours_for_stamina.instrument()
    ours_for_stamina.instrument()
    assert instrumentation.get_on_retry_hooks() == (*before, ours_for_stamina.count_retry)
    ours_for_stamina.uninstrument()
    assert instrumentation.get_on_retry_hooks() == before


def test_the_default_hooks_stay(hooks: list[Any]) -> None:
    """Where the host has set none, stamina's own, which log, stay beside ours."""
    instrumentation.set_on_retry_hooks(None)
    defaults = instrumentation.get_on_retry_hooks()
    ours_for_stamina.instrument()

    assert len(defaults) > 0
    assert instrumentation.get_on_retry_hooks() == (*defaults, ours_for_stamina.count_retry)


@pytest.mark.parametrize("name", ["instrument", "uninstrument"])
def test_a_factory_of_the_host_that_raises(forgetful: None, hooks: list[Any], name: str) -> None:
    """A hook that cannot be made is the host's to find, when it retries."""
    instrumentation.set_on_retry_hooks([instrumentation.RetryHookFactory(broken)])
    getattr(ours_for_stamina, name)()

    assert _guard.counts() == {"errors.stamina": 1}


# tenacity


def options(**more: Any) -> dict[str, Any]:
    """Three attempts that wait for a quarter of a second, without sleeping."""
    return {
        "stop": tenacity.stop_after_attempt(3),
        "wait": tenacity.wait_fixed(0.25),
        "reraise": True,
        **more,
    }


def no_sleep(seconds: float) -> None:
    """Sleep, as far as tenacity knows."""


async def no_sleep_async(seconds: float) -> None:
    """Sleep, as far as tenacity knows."""


def called(before_sleep: Any, bank: Bank) -> Any:
    """Ask the bank with retries."""
    return tenacity.Retrying(**options(before_sleep=before_sleep, sleep=no_sleep))(bank.ask, CARD)


def iterated(before_sleep: Any, bank: Bank) -> Any:
    """Ask the bank in a loop of attempts."""
    for attempt in tenacity.Retrying(**options(before_sleep=before_sleep, sleep=no_sleep)):
        with attempt:
            answer = bank.ask(CARD)
    return answer


def decorated(before_sleep: Any, bank: Bank) -> Any:
    """Ask the bank by a decorated function."""
    retry = tenacity.retry(**options(before_sleep=before_sleep, sleep=no_sleep))
    return retry(functools.partial(bank.ask))(CARD)


def awaited(before_sleep: Any, bank: Bank) -> Any:
    """Ask the bank with retries of asyncio."""
    retry = tenacity.AsyncRetrying(**options(before_sleep=before_sleep, sleep=no_sleep_async))
    return asyncio.run(retry(bank.ask_async, CARD))


WAYS = [called, iterated, decorated, awaited]


@pytest.mark.parametrize("way", WAYS)
def test_retries_of_tenacity_are_counted(
    shop: Capture, clock: Clock, way: Callable[..., Any]
) -> None:
    """Each retry counts, and the time until it as waiting, in all of tenacity's ways to retry."""
    bank = Bank()
    with touchpoint("cart.pay"):
        with interaction("confirm"):
            clock.tick(1)
        clock.tick(1)
        answer = way(ours_for_tenacity.count_retry, bank)

    assert (answer, bank.calls) == ("yes", 3)
    assert service_retries(shop) == 2
    assert shop.tags("cart.pay")["cx.effort.wait_time"] == 1.5
    assert nothing_of_the_call(shop)


@pytest.mark.parametrize("way", WAYS)
def test_tenacity_raises_what_the_host_raised(shop: Capture, way: Callable[..., Any]) -> None:
    """The last attempt is no retry, and its exception flies on."""
    with pytest.raises(BankError), touchpoint("cart.pay"):
        way(ours_for_tenacity.count_retry, Bank(9))

    assert service_retries(shop) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_callback_of_the_host_goes_on(shop: Capture, way: Callable[..., Any]) -> None:
    """What the host did before each sleep is done as before, and the retries are counted."""
    seen: list[int] = []
    with touchpoint("cart.pay"):
        way(ours_for_tenacity.counting(lambda state: seen.append(state.attempt_number)), Bank())

    assert seen == [1, 2]
    assert service_retries(shop) == 2


class Telling:
    """A callback of the host that has to be awaited."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def __call__(self, state: Any) -> None:
        self.seen.append(state.attempt_number)

    async def tell(self, state: Any) -> None:
        """The same as a method."""
        await self(state)


@pytest.mark.parametrize("name", ["__call__", "tell", "itself", "partial"])
def test_a_callback_that_is_awaited_goes_on(shop: Capture, name: str) -> None:
    """A coroutine function of any kind stays one, so that tenacity awaits it."""
    host = Telling()
    callback = {"itself": host, "partial": functools.partial(host.tell)}.get(name)
    with touchpoint("cart.pay"):
        awaited(ours_for_tenacity.counting(callback or getattr(host, name)), Bank())

    assert host.seen == [1, 2]
    assert service_retries(shop) == 2


def test_our_error_in_a_callback_of_tenacity_stays_ours(
    shop: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in our callback neither stops the retries nor the host's own callback."""
    monkeypatch.setattr(ours_for_tenacity, "current_touchpoint", broken)
    seen: list[Any] = []
    with touchpoint("cart.pay"):
        assert called(ours_for_tenacity.counting(seen.append), Bank()) == "yes"

    assert len(seen) == 2
    assert _guard.counts() == {"errors.tenacity": 2}


def test_an_error_of_the_hosts_callback_is_the_hosts(shop: Capture) -> None:
    """What the host's callback raises is raised as without us."""
    with pytest.raises(ZeroDivisionError), touchpoint("cart.pay"):
        called(ours_for_tenacity.counting(broken), Bank())

    assert _guard.counts() == {}


def test_a_callback_that_is_asked_too_early(shop: Capture) -> None:
    """A retry of which tenacity does not know the time yet counts without one."""
    with touchpoint("cart.pay"):
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        ours_for_tenacity.count_retry(state)

    assert service_retries(shop) == 1


# Both


@pytest.mark.parametrize("way", WAYS)
def test_outside_of_a_touchpoint_nothing_is_counted(
    shop: Capture, counted: list[Any], way: Callable[..., Any]
) -> None:
    """A job that no customer waits for retries as ever, and nobody is warned."""
    retrying()(Bank().ask)(CARD)
    way(ours_for_tenacity.count_retry, Bank())

    assert shop.spans == []
    assert _guard.counts() == {}


def test_without_configure_nothing_happens(nobody: None, counted: list[Any]) -> None:
    """In a process that has configured nothing, retries are as without us."""
    with cxtrace.touchpoint("cart.pay"):
        assert retrying()(Bank().ask)(CARD) == "yes"
        assert called(ours_for_tenacity.count_retry, Bank()) == "yes"

    assert _guard.counts() == {}
