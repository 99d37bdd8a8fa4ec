"""Leave a block: undo the attachment of its context, and nothing else."""

from opentelemetry.context import Context, attach, get_current

from cxtrace.context import KEY, SPAN_KEY, Block, CXContext, cx_of

_put = dict.__setitem__


def leave(context: Context) -> None:
    """Undo the attachment of ``context``, and nothing else.

    OpenTelemetry's ``detach`` logs an error when blocks close in another order or task than they
    were opened in. So no token is kept: what was current before comes back only if ``context`` is
    what is current now. What the host attached in the block, and left, stays.
    """
    now = get_current()
    cx: CXContext = context[KEY]  # type: ignore[assignment]
    if now is context:
        attach(cx.block.settle())  # type: ignore[union-attr]
    elif now.get(KEY) is cx:
        attach(_without(context, now, cx.block.settle()))  # type: ignore[union-attr]


def comes_from(context: Context, block: Block) -> bool:
    """Whether ``context`` was attached inside of ``block``, or inside of a block in it."""
    cx = cx_of(context)
    seen = None
    while cx is not None and cx.block is not None and cx.block is not seen:
        if cx.block is block:
            return True
        seen = cx.block
        cx = cx_of(seen.previous)
    return False


def _without(context: Context, now: Context, before: Context) -> Context:
    copy = Context(now)
    if copy.get(SPAN_KEY) is context.get(SPAN_KEY):
        _restore(copy, SPAN_KEY, before)
    _restore(copy, KEY, before)
    return copy


def _restore(copy: Context, key: str, previous: Context) -> None:
    if key in previous:
        _put(copy, key, previous[key])
    else:
        dict.pop(copy, key, None)


def without_ours(context: Context) -> Context:
    """A copy of ``context`` without anything of ours: what a forked child starts with."""
    copy = Context(context)
    dict.pop(copy, KEY, None)
    return copy
