"""A receiver as an application of ASGI or WSGI: bodies are read no further than they may go."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from attrs import frozen

from cxtrace import _guard
from cxtrace.integrations._webhooks.receipts import Receipt, refused

Message: TypeAlias = MutableMapping[str, Any]

MOST_AT_WORK: Final = 16
"""Deliveries to one receiver that threads of ours work on at one time.

While there are more, its senders come again; those of another receiver are served.
"""

PATIENCE: Final = 10.0
"""Seconds that a sender waits for such a thread: longer than most of them do."""

_LENGTH: Final = re.compile(r"[0-9]{1,18}")

_at_work: dict[object, object] = {}
"""By delivery: its receiver."""


@frozen
class _Application:
    take: Callable[[bytes, dict[str, str]], Receipt]
    touchpoint: str
    max_bytes: int


class ASGI(_Application):
    """An ASGI application; an object, since servers take a method for one of ASGI 2.

    The functions of the receiver are the user's, and may wait for a database or for ever. They run
    in a thread, where other requests do not wait with them.
    """

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request; anything else is not for us."""
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            body = await self._body(receive)
            if body is None:
                return
            given = {
                name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
            }
            receipt = await self._taken(partial(self.take, body, given))
        else:
            receipt = refused("method", self.touchpoint)
        headers = [(name.lower().encode(), text.encode()) for name, text in receipt.headers.items()]
        await send({"type": "http.response.start", "status": receipt.status, "headers": headers})
        await send({"type": "http.response.body"})

    async def _taken(self, take: Callable[[], Receipt]) -> Receipt:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another kind of event loop, into which no thread of ours can call
            return take()
        if sum(each is self for each in [*_at_work.values()]) >= MOST_AT_WORK:
            return refused("unfinished", self.touchpoint)
        done: asyncio.Future[Receipt] = loop.create_future()
        work = (partial(copy_context().run, take), loop, done)
        _at_work[done] = self
        try:
            threading.Thread(
                target=self._work, args=work, name="cxtrace_webhook", daemon=True
            ).start()
        except RuntimeError as error:  # the process has too many
            _guard.swallow("webhooks", error)
            _at_work.pop(done, None)
            return refused("unfinished", self.touchpoint)
        try:
            return await asyncio.wait_for(done, PATIENCE)
        except asyncio.TimeoutError:
            return refused("unfinished", self.touchpoint)

    def _work(
        self,
        take: Callable[[], Receipt],
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[Receipt]",
    ) -> None:
        try:
            receipt = take()
        except BaseException as error:  # noqa: BLE001  also SystemExit: there is nobody to exit
            _guard.swallow("webhooks", error)
            receipt = refused("unfinished", self.touchpoint)
        finally:
            _at_work.pop(done, None)
        with suppress(RuntimeError):  # the event loop has been closed since
            loop.call_soon_threadsafe(_answer, done, receipt)

    async def _body(self, receive: Callable[[], Awaitable[Message]]) -> bytes | None:
        """The body, or so much of it that it is too long; None where the sender has gone."""
        body, has_more = bytearray(), True
        while has_more and len(body) <= self.max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        return bytes(body)


def _answer(done: "asyncio.Future[Receipt]", receipt: Receipt) -> None:
    if not done.done():
        done.set_result(receipt)


_guard.in_child(_at_work.clear)


class WSGI(_Application):
    """A WSGI application."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] == "POST":
            given = {
                key[5:].replace("_", "-"): text
                for key, text in environ.items()
                if key.startswith("HTTP_")
            }
            receipt = self.take(self._body(environ), given)
        else:
            receipt = refused("method", self.touchpoint)
        status = f"{receipt.status} {HTTPStatus(receipt.status).phrase}"
        start_response(status, list(receipt.headers.items()))
        return []

    def _body(self, environ: dict[str, Any]) -> bytes:
        """The body, or so much of it that it is too long."""
        most = self.max_bytes + 1
        length = environ.get("CONTENT_LENGTH") or ""
        size = int(length) if _LENGTH.fullmatch(length) else 0
        if environ.get("wsgi.input_terminated"):
            size = most
        body: bytes = environ["wsgi.input"].read(min(size, most))
        return body
