"""``walkthrough()``: staff or a script act as a customer, and count as none."""

from typing import Any

from opentelemetry.context import Context, get_current

from cxtrace import _marks, _runtime
from cxtrace._marks import Synthetic
from cxtrace._noun import Surroundings
from cxtrace._plan import refuse_function
from cxtrace._scope import RequestScope
from cxtrace._touchpoint import outermost
from cxtrace._wrap import block_of
from cxtrace.context import Block, CXContext, cx_of, make, with_cx


class walkthrough(Surroundings[Block]):  # noqa: N801  used as a verb
    """All inside is done by staff or a script that walks a journey, and by no customer.

    Works in the same places as ``touchpoint``. Every span inside, and in the services that are
    called, says so; no metric counts it. Makes no span of its own.

    Args:
        id: Which run it is: a code of at most 64 letters, digits, ``. _ -``: ``2026-09-ceo-1``.
        persona: Whom it plays, in a word or two: ``first-time buyer``.
        type: ``test``, or ``bot`` for a robot.

    Raises:
        TypeError: What is decorated is not a function.
    """

    __slots__ = ("_given",)

    def __init__(
        self,
        id: str,  # noqa: A002  the contract's word
        *,
        persona: str,
        type: Synthetic = "test",  # noqa: A002
    ) -> None:
        super().__init__()
        refuse_function(id, "walkthrough")
        self._given: tuple[Any, Any, Any] = id, persona, type

    def _enter(self) -> Context | None:
        if _runtime.is_idle():
            return None
        context = get_current()
        cx = cx_of(context) or outermost(context)
        scope = RequestScope(cx.identity.marked(_marks.given(*self._given)), cx.scope)
        block = Block(context)
        inner = (scope, cx.journey, cx.place, cx.interaction, block, cx.handle)
        return with_cx(context, make(CXContext, inner))

    def _handle(self, context: Context | None) -> Block:
        return Block(Context()) if context is None else block_of(context)
