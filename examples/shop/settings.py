"""Where the parts of the shop find each other."""

import os
import sys
from typing import Final, NamedTuple


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def _address(variable: str, default: str) -> Address:
    host, _, port = os.environ.get(variable, default).rpartition(":")
    return Address(host, int(port))


STOREFRONT: Final = _address("SHOP_STOREFRONT", "127.0.0.1:8000")
PAYMENTS: Final = _address("SHOP_PAYMENTS", "127.0.0.1:8001")
_SOCKET: Final = r"\\.\pipe\shop" if sys.platform == "win32" else "broker.socket"
BROKER: Final = os.environ.get("SHOP_BROKER", _SOCKET)
"""The broker's socket is a file: TCP would wait for acknowledgements in its handshake."""

BROKER_KEY: Final = os.environ.get("SHOP_BROKER_KEY", "for-development-only").encode()
"""Who does not know it cannot read or write the queue."""
