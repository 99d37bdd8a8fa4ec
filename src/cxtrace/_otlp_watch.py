"""OpenTelemetry's OTLP exporters under watch: what they were answered, and no request for ever.

Over HTTP the time-out of their library is that of each piece received: a receiver that answers one
byte a second holds an export for ever, and one that never ends fills the memory. Here it is that of
the whole answer, of which the beginning is read.
"""

import io
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from http.client import HTTPResponse
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final

from cxtrace._answers import (
    UNAVAILABLE,
    UNREACHED,
    Answer,
    Notes,
    Verdict,
    of_grpc,
    of_http,
    of_tls,
    within_reason,
)

_MOST_READ: Final = 65_536
"""Bytes of an answer. That of OTLP is a count and a sentence."""

_deadline: ContextVar[float] = ContextVar("cxtrace.deadline")


# HTTP


def watched_session(notes: Notes) -> Any:
    """A ``requests.Session`` that notes what it was answered, and keeps its time-outs."""
    from requests import Session  # type: ignore[import-untyped,unused-ignore]
    from requests.cookies import (  # type: ignore[import-untyped,unused-ignore]
        RequestsCookieJar,
    )

    session = Session()
    abandoned: list[object] = []

    def renew() -> None:
        # What a fork has copied may be locked, and its clean-up would wait: it is kept.
        abandoned.extend([*session.adapters.values(), session.cookies])
        session.cookies = RequestsCookieJar()
        for scheme in ("https://", "http://"):
            session.mount(scheme, _adapter()(notes))

    renew()
    notes.renew = renew
    return session


@cache
def _adapter() -> Any:
    """The class of the adapters: made when first used, as its base is not loaded before."""
    from requests.adapters import HTTPAdapter  # type: ignore[import-untyped,unused-ignore]
    from requests.exceptions import (  # type: ignore[import-untyped,unused-ignore]
        ConnectionError as NoConnection,
    )
    from requests.exceptions import (  # type: ignore[import-untyped,unused-ignore]
        ConnectTimeout,
        SSLError,
    )

    class Adapter(HTTPAdapter):  # type: ignore[misc,unused-ignore]
        def __init__(self, notes: Notes) -> None:
            self._notes = notes
            super().__init__()

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            _bound(self.poolmanager)

        def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
            is_new = proxy not in self.proxy_manager
            manager = super().proxy_manager_for(proxy, **kwargs)
            if is_new:
                _bound(manager)
            return manager

        def send(  # type: ignore[override,unused-ignore]
            self, request: Any, stream: bool = False, timeout: Any = None, **kwargs: Any
        ) -> Any:
            notes = self._notes
            until = notes.deadline(timeout)
            left = until - monotonic()
            if left <= 0:
                raise ConnectTimeout(request=request)
            notes.hear(UNAVAILABLE)
            token = _deadline.set(until)
            try:
                response = super().send(request, stream, left, **kwargs)
                body = _beginning(response.raw)
            except SSLError:
                notes.hear(of_tls())
                raise
            except NoConnection as error:
                if _is_unreached(error):
                    notes.hear(UNREACHED)
                raise
            finally:
                _deadline.reset(token)
            response._content = body  # noqa: SLF001  else it reads the rest, however long that is
            notes.hear(_heard(request, response, body))
            return response

    return Adapter


def _is_unreached(error: Any) -> bool:
    """Whether not even a connection was made, so that nothing can have arrived."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, (ConnectTimeoutError, NewConnectionError))


def _beginning(raw: Any) -> bytes:
    """The first bytes of a body; none if they do not come: the status says enough."""
    body = b""
    with suppress(Exception):
        body = raw.read(_MOST_READ, decode_content=True)
    if len(body) >= _MOST_READ:
        raw.close()
    return body


def _heard(request: Any, response: Any, body: bytes) -> Answer:
    if request.method != "POST":  # A redirect was followed with nothing in hand.
        return of_http(302, {})
    is_otlp = response.headers.get("Content-Type", "").startswith("application/x-protobuf")
    rejected = _rejected(body) if is_otlp and response.ok else 0
    return of_http(response.status_code, response.headers, rejected)


def _rejected(body: bytes) -> int:
    """How many items a receiver did not take; spans, points and records have the same layout."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    with suppress(Exception):
        found = ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans
        return max(int(found), 0)
    return 0


def _bound(manager: Any) -> None:
    """Let all connections of a pool manager of urllib3 keep to the deadline."""
    manager.pool_classes_by_scheme = {
        scheme: _bounded(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _bounded(pool: Any) -> Any:
    connection = type(
        pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": _BoundedResponse}
    )
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _BoundedResponse(HTTPResponse):
    """An answer of which everything, the head included, is read before the deadline."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Until(sock, self.fp))


class _Until(io.RawIOBase):
    """Reads a socket, each time with what is left of the time."""

    def __init__(self, sock: socket.socket, file: Any) -> None:
        self._sock = sock
        self._file = file
        self._deadline = _deadline.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._file.raw.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


# gRPC


def watch_stub(exporter: Any, notes: Notes) -> bool:
    """Note what an exporter over gRPC is answered; false if it is not built as we know it.

    There is no public way: the exporter makes its channel and its stub itself, and makes them anew
    when the receiver is away.
    """
    make, client = getattr(exporter, "_stub", None), getattr(exporter, "_client", None)
    if not callable(make) or not callable(getattr(client, "Export", None)):
        return False
    exporter._stub = lambda channel: _noting(make(channel), notes)  # noqa: SLF001
    exporter._client = _noting(client, notes)  # noqa: SLF001
    return True


def _noting(stub: Any, notes: Notes) -> SimpleNamespace:
    call: Callable[..., Any] = stub.Export

    def export(*args: Any, **kwargs: Any) -> Any:
        try:
            response = call(*args, **kwargs)
        except Exception as error:
            with suppress(Exception):
                notes.hear(_of_error(error))
            raise
        rejected = _rejected(response.SerializeToString())
        notes.hear(Answer(Verdict.DELIVERED, rejected=rejected))
        return response

    return SimpleNamespace(Export=export)


def _of_error(error: Any) -> Answer:
    wait = None
    with suppress(Exception):
        wait = _wait(error.trailing_metadata())
    return of_grpc(error.code().name, error.details() or "", wait)


def _wait(metadata: Any) -> float | None:
    """Seconds that a receiver asks us to wait, as OTLP has it, or as OpenTelemetry reads it."""
    from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped,unused-ignore]
        RetryInfo,
    )
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped,unused-ignore]

    found, info = dict(metadata or ()), RetryInfo()
    plain = found.get("google.rpc.retryinfo-bin")
    info.ParseFromString(plain or b"")
    status = Status.FromString(found.get("grpc-status-details-bin", b""))
    if not any(each.Unpack(info) for each in status.details) and plain is None:
        return None
    return within_reason(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
