"""Blocks that are entered and left in odd places: by hand, elsewhere, inside of themselves."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import INVALID_SPAN

import cxtrace
from cxtrace import current_context, customer, identify, touchpoint
from cxtrace._guard import counts
from cxtrace._tracing import SDKTracing

PSEUDONYM = "enduser.pseudo.id"


def test_deferred_generator_inside_of_its_own_block(cx):
    """A generator that runs where its own block's context was carried to comes to an end."""
    carried = {}

    def consume(rows):
        assert list(rows) == [0, 1, 2]
        with touchpoint("export.done"):
            pass
        return "done"

    @touchpoint("export.start")
    def start():
        carried["consume"] = cxtrace.wrap(consume)
        return (number for number in range(3))

    rows = start()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(carried["consume"], rows).result(10) == "done"

    assert sorted(cx.names) == ["export.done", "export.start"]


def elsewhere(work):
    """Run something in a context of its own, as frameworks do with dependencies."""
    return contextvars.copy_context().run(work)


def test_shared_with_left_elsewhere(cx):
    """Two requests that enter and leave one shared description elsewhere each end their own."""
    shared = touchpoint("x")

    def request():
        with shared as entered:
            yield entered

    first, second = request(), request()
    one, two = elsewhere(lambda: next(first)), elsewhere(lambda: next(second))
    with pytest.raises(StopIteration):
        elsewhere(lambda: next(first))
    assert (one.ended, two.ended) == (True, False)
    with pytest.raises(StopIteration):
        elsewhere(lambda: next(second))

    assert two.ended
    assert len(cx.spans) == 2


def test_leaving_that_fits_nothing(cx):
    """An exit that could be of any of several entries ends none of them, and is counted."""
    shared = touchpoint("x")

    def enter():
        return shared.__enter__()

    handles = [elsewhere(enter), elsewhere(enter)]
    elsewhere(lambda: shared.__exit__(None, None, None))

    assert [handle.ended for handle in handles] == [False, False]
    assert counts() == {"with.left_open": 1}


def test_customer_entered_by_hand_ends_with_the_call(cx):
    """A block that was entered by hand and forgotten does not go on to the next request."""

    @touchpoint("request")
    def forgetful():
        customer("A").__enter__()

    @touchpoint("request")
    async def forgetful_too():
        customer("A").__enter__()

    forgetful()
    with pytest.raises(StopIteration):
        forgetful_too().send(None)
    with touchpoint("next"):
        pass

    assert current_context() is None
    assert PSEUDONYM not in cx.tags("next")


def test_identity_inside_of_a_known_customer_stays_there(cx):
    """What is said in a block for a known customer does not reach what stands around it."""
    with touchpoint("batch"):
        for name in ("A", "B"):
            with customer(name), touchpoint(f"mail {name}"):
                identify(name)
        with touchpoint("summary"):
            pass

    assert cx.tags("mail B")[PSEUDONYM] == cx.pseudonym("B")
    assert PSEUDONYM not in cx.tags("batch")
    assert PSEUDONYM not in cx.tags("summary")


def test_withdrawal_reaches_all_that_is_open_for_the_customer(cx):
    """A withdrawal in an inner block counts in the outer block of the same customer."""
    outer = customer("A", consent="granted")
    with outer, touchpoint("outer"), customer("A"), touchpoint("inner"):
        identify("A", consent="withdrawn")

    for name in ("outer", "inner"):
        assert PSEUDONYM not in cx.tags(name)
        assert cx.tags(name)["cx.consent.state"] == "withdrawn"


def test_refusal_of_one_says_nothing_of_another(cx):
    """Two customers without a pseudonym are not for that reason the same."""
    outer = customer("A", kind="account", consent="denied")
    with outer, touchpoint("outer"), customer("B", consent="denied"), touchpoint("inner"):
        identify("B", kind="person", consent="withdrawn")

    assert cx.tags("outer")["cx.customer.kind"] == "account"
    assert cx.tags("outer")["cx.consent.state"] == "denied"
    assert cx.tags("inner")["cx.consent.state"] == "withdrawn"


def test_withdrawal_goes_past_a_span_that_fails(cx, monkeypatch):
    """A span of others that cannot be told keeps nobody else from being told."""
    with customer("A", consent="granted"), touchpoint("ours") as ours:
        scope = current_context().scope

        class Stubborn:
            def is_recording(self):
                raise RuntimeError

        scope.adopt(1, Stubborn())
        identify("A", consent="withdrawn")
        scope.release(1, cx)
        assert ours.span.is_recording()

    assert PSEUDONYM not in cx.tags("ours")
    assert counts() == {"errors.identify.span": 1}


@pytest.mark.parametrize(("consent", "expected"), [("withdrawn", None), ("granted", "B")])
def test_identity_that_comes_while_a_span_starts(cx, consent, expected):
    """What is said after the attributes were put together, and before the span is known, counts."""

    class Late:
        def on_start(self, span, parent_context=None):
            if span.name == "late":
                identify("B", consent=consent)

        def on_end(self, span):
            pass

        _on_ending = on_end

    cx.provider.add_span_processor(Late())
    with touchpoint("request"), touchpoint("late"):
        pass

    assert cx.tags("late").get(PSEUDONYM) == (expected and cx.pseudonym(expected))
    assert cx.tags("late")["cx.consent.state"] == consent


def test_span_that_has_ended_is_not_told(cx, caplog):
    """A span that others ended without our seeing it is left as it is, without a word."""
    with touchpoint("request"):
        scope = current_context().scope
        ended = cx.tracer.start_span("ended")
        ended.end()
        scope.adopt(1, ended)
        identify("A")
        scope.release(1, cx)

    assert PSEUDONYM not in ended.attributes
    assert caplog.records == []


def test_nothing_is_taken_from_a_span_that_has_ended(cx):
    """What was exported cannot be taken back, and is not touched."""
    with customer("A"), touchpoint("a") as entered:
        pass

    for forget in (cx.tracing.forget, SDKTracing(cx.tracer).forget):
        forget(entered.span, (PSEUDONYM,))
        forget(INVALID_SPAN, (PSEUDONYM,))

    assert entered.span.attributes[PSEUDONYM] == cx.pseudonym("A")


def test_generator_is_closed_where_nobody_listens(forgetful):
    """Without a provider a decorated generator is closed as it would be without decoration."""
    closed = []

    @touchpoint("x")
    def numbers():
        try:
            yield 1
        finally:
            closed.append(True)

    iterator = numbers()
    assert next(iterator) == 1
    iterator.close()

    assert closed == [True]
