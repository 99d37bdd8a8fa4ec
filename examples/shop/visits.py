"""Who is in the shop: a middleware that knows visitors by a cookie and their journey by heart."""

import secrets
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import cxtrace
from cxtrace import journey
from cxtrace.attributes import JourneyOutcome

JOURNEYS: Final = {
    "letter": ("win_back", "letter"),
    "account": ("return_goods", "online"),
    "products": ("browse_and_leave", None),
}
"""The way in tells the journey and its route; by all others a first order begins."""


@dataclass
class Visit:
    """One person in the shop, known or not."""

    journey: str = "first_order"
    route: str | None = None
    journey_id: str | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    visitor: str = field(default_factory=secrets.token_hex)
    customer: str | None = None
    segment: str | None = None
    declined: int = 0
    """How many times their bank said no."""

    def identify(self) -> None:
        """Tell cxtrace who this is: a customer, or a visitor of whom nobody knows the name."""
        if self.customer is None:
            cxtrace.identify(self.visitor, kind="anonymous")
        else:
            cxtrace.identify(self.customer, kind="person", segment=self.segment)

    def ends(self, outcome: JourneyOutcome) -> None:
        """Their journey ends, and not at its goal."""
        with journey(self.journey) as walk:
            walk.outcome(outcome)

    def buys(self) -> None:
        """Who only looked around begins an order: another journey, from the next page on."""
        if self.journey == "browse_and_leave":
            self.ends("superseded")
            self.journey, self.route, self.journey_id = "first_order", None, None


class Visits:
    """Around every request of a browser: the visit, and the journey that goes on with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.visits: dict[str, Visit] = {}  # yours are in Redis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = cxtrace.current_context()
        if scope["type"] != "http" or (here is not None and here.journey is not None):
            # One of our own services calls, and brings the journey of its customer along.
            await self.app(scope, receive, send)
            return
        visit = self._visit(Request(scope))
        scope.setdefault("state", {})["visit"] = visit

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                cookie = f"visit={visit.token}; Path=/; HttpOnly; SameSite=Lax"
                headers.append("set-cookie", cookie)
                # What customers can quote when they call; it says nothing about them.
                headers["journey-id"] = visit.journey_id or ""
            await send(message)

        with journey(visit.journey, id=visit.journey_id, route=visit.route) as walk:
            visit.journey_id = walk.id
            visit.identify()
            await self.app(scope, receive, send_with_headers)

    def _visit(self, request: Request) -> Visit:
        known = self.visits.get(request.cookies.get("visit", ""))
        if known is not None:
            return known
        way_in = request.url.path.split("/")[1]
        visit = Visit(*JOURNEYS.get(way_in, ()))
        self.visits[visit.token] = visit
        return visit


def _current(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


Visiting = Annotated[Visit, Depends(_current)]
"""A parameter of this type is the visit of the request."""
