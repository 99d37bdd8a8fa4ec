"""A receiver as an application of ASGI or WSGI: bodies are read no further than they may go."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from attrs import frozen

from cxtrace.integrations._webhooks.receipts import Receipt, refused

Message: TypeAlias = MutableMapping[str, Any]

_LENGTH: Final = re.compile(r"[0-9]{1,18}")


@frozen
class _Application:
    take: Callable[[bytes, dict[str, str]], Receipt]
    touchpoint: str
    max_bytes: int


class ASGI(_Application):
    """An ASGI application; an object, since servers take a method for one of ASGI 2."""

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
            receipt = self.take(body, given)
        else:
            receipt = refused("method", self.touchpoint)
        headers = [(name.lower().encode(), text.encode()) for name, text in receipt.headers.items()]
        await send({"type": "http.response.start", "status": receipt.status, "headers": headers})
        await send({"type": "http.response.body"})

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
