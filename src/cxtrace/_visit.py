"""A request, task or message that the journey map knows, from its arrival to its answer.

The integrations of the frameworks make one for each request; all they have to know is how to ask
their framework, and when.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final
from uuid import UUID

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import SpanKind, get_current_span

from cxtrace import _guard, _journey, _journey_ids, _runtime
from cxtrace._bound import FAILURES, LATE, WAYS, Asked, Bound
from cxtrace._handles import TouchpointHandle
from cxtrace._identity import identity_of, plain_id
from cxtrace._leave import without_ours
from cxtrace._scope import RequestScope
from cxtrace._touchpoint import outermost, touchpoint
from cxtrace._wrap import block_of, close, end
from cxtrace.attributes import CustomerKind, Outcome
from cxtrace.context import Block, CXContext, Identity, Journey, cx_of, make, with_cx
from cxtrace.typing import CustomerId, Request

_EDGE_KINDS: Final = (SpanKind.SERVER, SpanKind.CONSUMER)
_ANYBODYS: Final = ("header", "cookie", "path", "query")
"""Parts of a request that whoever makes it writes."""


class _Door(Block):
    """The block of a whole request: what is said in it ends with it."""

    __slots__ = ("kind", "visit")

    def __init__(self, previous: Context, kind: str, visit: "Visit") -> None:
        # Not through the class above: a call more for every request.
        self.previous = previous
        self.ended = False
        self.kind = kind
        self.visit: Visit | None = visit


class Visit:
    """One request, task or message. No method raises.

    Args:
        bound: What the map says about it.
        request: How to ask it.
        path: Parameters of its route.
        kind: ``http``, ``task``, ``message`` or ``rpc``. Within one, no second of its kind opens: a
            second middleware only tells the first what else can be asked.
    """

    __slots__ = (
        "_bound", "_contexts", "_door", "_error", "_journey", "_known", "_outer", "_path",
        "_requests", "_scope", "_untold", "handle",
    )  # fmt: skip

    def __init__(
        self, bound: Bound, request: Request, path: Mapping[str, str], kind: str = "http"
    ) -> None:
        self._bound = bound
        self._requests = [request]
        self._outer: Visit | None = None
        self._door: _Door | None = None
        self._error: BaseException | None = None
        self._path = path
        self._contexts: list[Context] = []
        self._scope: RequestScope | None = None
        self._journey: Journey | None = None
        self._known: object = None
        self._untold = len(bound.customer)
        self.handle: TouchpointHandle | None = None
        try:
            self._enter(kind)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("visit", error)
        if self._scope is not None and self._scope.spared is not None:
            self._scope.spare_no_more(_runtime.current.tracing)

    @property
    def context(self) -> Context | None:
        """The context of the request, to be attached where the framework goes on elsewhere."""
        return self._contexts[-1] if self._contexts else None

    def is_of(self, request: Request) -> bool:
        """Whether it is about this request, as far as that can be told."""
        sources = [getattr(each, "source", None) for each in (self._requests[0], request)]
        return None in sources or sources[0] is sources[1]

    def _enter(self, kind: str) -> None:
        context, noun = get_current(), self._bound.noun
        cx = cx_of(context)
        if _runtime.is_idle():
            return
        if cx is None or cx.block is None:  # as nearly always: nothing is open yet
            self._begin(_Door(context, kind, self), context, cx or outermost(context), noun)
            return
        outer = open_visit(cx, kind)
        if outer is not None and outer.is_of(self._requests[0]):
            self._outer = outer
            outer._requests += self._requests  # noqa: SLF001
            outer.learn()
        elif outer is not None or any(door.ended for door in _doors(cx)):
            base, bare, noun = _apart(context, cx, noun)
            self._begin(_Door(context, kind, self), base, bare, noun)
        else:
            self._begin(_Door(context, kind, self), context, cx, noun)

    def _begin(self, door: _Door, context: Context, cx: CXContext, noun: touchpoint | None) -> None:
        self._scope = scope = cx.scope
        self._known = before = scope.identity
        span = None if noun is None else noun.span_of(context)
        if before.pseudonym is not None:
            self._untold = 0  # one of our services has told, and signed it
        self._journey = journey = cx.journey or self._told()
        self._scope = scope = _journey.in_epoch(scope, journey)
        if self._untold:
            # The touchpoint is about to write on its span all that is known by then.
            scope.spared = span if before is _runtime.current.anonymous else None
            self._learn(WAYS)
        is_told = bool(scope.identity.tags) or journey is not None
        if is_told or any(asked.way in LATE for asked in self._bound.customer[: self._untold]):
            scope.expect()  # who it is may be found late, and a consent be refused late
        if journey is not None:
            self._known = _agreed(journey, scope)
        self._door = door
        inner = make(CXContext, (scope, journey, cx.place, cx.interaction, door, cx.handle))
        self._attach(context := with_cx(context, inner))
        if noun is None:
            _tag(context)
            return
        # The part of `with` that can wait.
        opened = noun._open() if span is None else noun.be(span, context)  # noqa: SLF001
        if opened is not None:
            scope.spared = None
            self._attach(opened)
            self.handle = block_of(opened)

    def _attach(self, context: Context) -> None:
        self._contexts.append(context)
        attach(context)

    def _told(self) -> Journey | None:
        for asked in self._bound.journey if self._bound.journeys else ():
            told = self._ask(asked)
            if told is not None:
                name = self._bound.journeys[0]
                return _identified(name, str(told), is_plain=asked.is_plain)
        return None

    def learn(self) -> None:
        """Ask who the customer is, as far as the application knows by now."""
        if self._outer is not None:
            self._outer.learn()
        if self._untold:
            self._learn(LATE)

    def _learn(self, ways: tuple[str, ...]) -> None:
        if self._scope is None or self._scope.identity is not self._known:
            return  # the code has said who it is, which is better than a guess
        try:
            for number, asked in enumerate(self._bound.customer[: self._untold]):
                told = self._ask(asked) if asked.way in ways else None
                if told is not None:
                    self._untold = number
                    _identify(self._scope, told, asked.kind, asked.way, self._journey)
                    self._known = self._scope.identity
                    return
        except Exception as error:  # noqa: BLE001
            _guard.swallow("visit.learn", error)

    def _ask(self, asked: Asked) -> CustomerId | None:
        if asked.way == "path":
            return _usable(self._path.get(asked.name))
        for request in self._requests:
            try:
                told = _usable(getattr(request, asked.way)(asked.name))
            except Exception as error:  # noqa: BLE001  the host's objects may refuse to tell
                _guard.swallow(f"request.{asked.way}", error)
                continue
            if told is not None:
                return told
        return None

    def answer(
        self,
        status: int,
        header: Callable[[str], str | None],
        error: BaseException | None = None,
    ) -> None:
        """Say what the application answers, before the answer goes out.

        Args:
            status: Status code of HTTP.
            header: Gives a header of the answer by its name in small letters.
            error: What went wrong in the application, if the answer is about that.
        """
        self.learn()
        if error is not None:
            self._blame(error)
        handle = self.handle
        if handle is None or handle.has_been_judged:
            return
        try:
            outcome = self._bound.outcome(status, header)
            if outcome == "failed" and status >= FAILURES and self._error is None:
                handle.fail(str(status))
            elif outcome is not None:
                handle.outcome(outcome)
        except Exception as failure:  # noqa: BLE001
            _guard.swallow("visit.answer", failure)

    def _blame(self, error: BaseException) -> None:
        whose = self._outer or self
        whose._error = error  # noqa: SLF001

    def complete(self) -> None:
        """Say that the customer has ended it in good order."""
        self._judge("completed")

    def abandon(self) -> None:
        """Say that the customer has gone before the answer was there."""
        self._judge("abandoned")

    def _judge(self, outcome: Outcome) -> None:
        if self.handle is not None and not self.handle.has_been_judged:
            self.handle.outcome(outcome)

    def finish(self, error: BaseException | None = None) -> None:
        """End the touchpoint; what the framework still does stays under its context."""
        self.learn()
        error, self._error = error or self._error, None  # it refers to the frames that refer to us
        if self.handle is None or self.handle.ended or not self._contexts:
            return
        try:
            end(self._contexts[-1], error)
        except Exception as failure:  # noqa: BLE001
            _guard.swallow("visit.finish", failure)

    def leave(self, error: BaseException | None = None) -> None:
        """End it all and restore what was current before."""
        self.finish(error)
        contexts, door = self._contexts, self._door
        if door is None:
            return
        is_over = self.handle is None or self.handle.ended
        if is_over and contexts and get_current() is contexts[-1]:
            # Nothing of others is attached within, and one step leads out of it all.
            contexts.clear()
            door.end(error)
            attach(door.settle())
        while contexts:
            close(contexts.pop(), error)
        # Whatever runs on in the background keeps the context, but not the request.
        door.visit = None


def _usable(told: object) -> CustomerId | None:
    return str(told) if issubclass(type(told), UUID) else plain_id(told)


def open_visit(cx: CXContext | None, kind: str) -> Visit | None:
    """The visit of the same kind that is open already: a middleware that was added twice."""
    for door in _doors(cx):
        return door.visit if door.kind == kind and not door.ended else None
    return None


def _doors(cx: CXContext | None) -> Iterator[_Door]:
    """Those of all requests, tasks and messages of which this context is part, from within."""
    seen = None
    while cx is not None and cx.block is not None and cx.block is not seen:
        seen = cx.block
        if isinstance(seen, _Door):
            yield seen
        cx = cx_of(seen.previous)


def _apart(
    context: Context, cx: CXContext, noun: touchpoint | None
) -> tuple[Context, CXContext, touchpoint | None]:
    """What a request begins with within the context of another one, of which it knows nothing."""
    base = without_ours(context)
    if get_current_span(context) is not getattr(cx.handle, "span", None):
        return base, outermost(base), noun
    # The span that is current is the other's touchpoint: ours is one of its own, below it.
    bare = CXContext(RequestScope(_runtime.current.anonymous))
    return base, bare, None if noun is None else noun.apart()


def _tag(context: Context) -> None:
    """Tag the framework's own span, which began before the journey was known."""
    span, cx = get_current_span(context), cx_of(context)
    if cx is not None and span.is_recording() and getattr(span, "kind", None) in _EDGE_KINDS:
        span.set_attributes(cx.tags())


def _identify(
    scope: RequestScope,
    customer_id: CustomerId,
    kind: CustomerKind | None,
    way: str,
    journey: Journey | None = None,
) -> None:
    """Say who the customer of a request, and of its journey, is.

    A visitor's cookie and an account's number may be the same text, of two different people. Who
    writes a header does not say by it that they are no customer: anyone could leave the metrics.
    """
    if kind == "walkthrough" and way in _ANYBODYS:
        _guard.count("walkthrough.not_trusted")
        kind = None
    if kind == "anonymous":
        customer_id = f"anonymous:{customer_id}"
    state = _journey.state_of(journey)
    found = identity_of(customer_id, kind, None, None, scope.identity, state)
    scope.identify(found, _runtime.current.tracing)


def _agreed(journey: Journey, scope: RequestScope) -> Identity:
    """Who the customer of a request is, after all that was said of consent on the journey."""
    if journey.state is not None:
        _journey.remember_consent(journey, scope.identity)
        identity = journey.state.consent(scope.identity)
        if identity is not scope.identity:
            scope.identify(identity, _runtime.current.tracing)
    return scope.identity


def _identified(name: str, identifier: str, *, is_plain: bool) -> Journey:
    """The journey that a part of a request identifies.

    Args:
        name: As in the journey map.
        identifier: What the request says.
        is_plain: Whether it may be sent as it stands, if it is an opaque token.
    """
    return _journey.known(name, _journey_ids.told(name, identifier, is_plain=is_plain), None)
