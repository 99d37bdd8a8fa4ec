"""Asking servers over HTTP: no proxy, no secret shown, and no answer is waited for in vain."""

import base64
import json
import os
import ssl
import time
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from attrs import field, frozen


@frozen
class Answer:
    """What a server answered.

    Attributes:
        status: Of HTTP; 0 where there was no answer.
        body: As it came.
        problem: Why there was no answer, in words; "" where there was one.
        skew: Seconds by which the server's clock is ahead of ours; None where it does not tell.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    problem: str = ""
    skew: float | None = None

    def json(self) -> Any:
        """The body as JSON; None where it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def ask(
    url: str, timeout: float, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask a server, once. Never raises.

    Args:
        url: May hold user and password, which become a header.
        timeout: Seconds.
        body: What is posted; without one, the server is asked for what it has.
        headers: To be sent along.
    """
    try:
        plain, own = _credentials(url)
        request = urllib.request.Request(plain, body, {**own, **(headers or {})})  # noqa: S310
        # Nobody's proxy: exporters have their own way, and a Collector is near.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_trusting())
        )
        return _open(opener, request, timeout)
    except (ValueError, OSError, HTTPException) as error:
        return Answer(0, problem=_said(error))


def _open(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float
) -> Answer:
    began = time.time()
    try:
        with opener.open(request, timeout=timeout) as found:
            return Answer(found.status, found.read(), skew=_skew(found.headers, began))
    except HTTPError as error:
        with error:
            return Answer(error.code, error.read(), skew=_skew(error.headers, began))


def _skew(headers: Any, began: float) -> float | None:
    """The middle of the second that the server names, against the middle of our waiting."""
    try:
        there = parsedate_to_datetime(headers.get("Date")).timestamp() + 0.5
    except (TypeError, ValueError):
        return None
    return there - (began + time.time()) / 2


def _credentials(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return plain, {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _trusting() -> ssl.SSLContext:
    """What OpenTelemetry's exporters trust."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
    file = next(filter(None, map(os.environ.get, names)), None)
    context = ssl.create_default_context(cafile=file)
    if file is not None:
        context.load_default_certs()
    return context


def _said(error: Exception) -> str:
    """What is wrong, without the address, which may hold a password."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return "an address that cannot be read" if isinstance(error, ValueError) else "no HTTP"
