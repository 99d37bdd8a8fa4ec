"""What an OTLP endpoint takes besides spans: it is asked, for Jaeger takes none of it."""

import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from importlib import import_module
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

KINDS: Final = ("metrics", "logs")
_SECONDS: Final = 5.0
_NOT_FOUND: Final = 404


def refused_by(url: str, protocol: str) -> list[str]:
    """Which of metrics and logs the endpoint says that it does not take.

    Who does not answer, or wants to know first who asks, has not said so.
    """
    if urlsplit(url).scheme != "http":  # TLS may need certificates, which only the services read
        return []
    says_no = _says_no_over_grpc if protocol == "grpc" else _says_no_over_http
    return _asked(url, says_no)


def _asked(url: str, says_no: Callable[[str, str], bool]) -> list[str]:
    try:
        return [kind for kind in KINDS if says_no(url, kind)]
    except OSError:
        return []


def _says_no_over_http(url: str, kind: str) -> bool:
    # Nobody's proxy, as for the services. An empty body is a request without any record.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/x-protobuf"}
    asked = urllib.request.Request(f"{url.rstrip('/')}/v1/{kind}", b"", headers)  # noqa: S310
    try:
        opener.open(asked, timeout=_SECONDS).close()
    except HTTPError as error:
        with error:
            return error.code == _NOT_FOUND
    except HTTPException as error:
        raise OSError from error
    return False


def _says_no_over_grpc(url: str, kind: str) -> bool:
    grpc = import_module("grpc")
    method = f"/opentelemetry.proto.collector.{kind}.v1.{kind.capitalize()}Service/Export"
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(urlsplit(url).netloc, options) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise OSError from error
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
    return False
