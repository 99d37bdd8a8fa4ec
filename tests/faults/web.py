"""The service: FastAPI under uvicorn. ``python -m tests.faults.web FD`` serves a socket it got."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from tests.faults.telemetry import WORK, Telemetry, telemetry


def application(shop: Telemetry) -> FastAPI:
    """The service, with telemetry that is there already."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shop.stop()
        shop.write_books()

    # Its own spans nobody here would count; versions that make none take this and do nothing.
    app = FastAPI(lifespan=lifespan, telemetry={"tracing": False, "metrics": False})

    @app.get("/pay")
    async def pay() -> dict[str, bool]:
        with shop.payment():
            await asyncio.sleep(WORK)
        return {"paid": True}

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()

    @app.get("/fork")
    async def fork() -> int:
        return shop.fork()

    @app.get("/report")
    async def report() -> dict[str, Any] | None:
        return shop.report()

    return app


def main() -> None:
    """Serve until SIGTERM."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(application(telemetry()), access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
