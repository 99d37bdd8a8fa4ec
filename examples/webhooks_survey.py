"""Answers of a survey as feedback, in FastAPI. Needs ``cxtrace[demo]``.

The requests have the shape and the signature of Typeform's webhooks.
"""

import asyncio
import base64
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from in_the_terminal import look, reader, spans
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider

import cxtrace
from cxtrace import JourneyMap
from cxtrace.attributes import FeedbackType, MentionSource
from cxtrace.integrations.webhooks import HmacSignature, Receiver, Signal, Visit

SECRET = "from your environment, not from your code"
QUESTIONS: dict[str, FeedbackType] = {"recommend_us": "nps", "delivery": "csat"}
HEARD_FROM: dict[str, MentionSource] = {"A friend": "friends", "A newspaper": "press"}


def answers(event: dict[str, Any]) -> Iterator[Visit]:
    """Scores and choices by the names that you gave to the questions. Texts are not taken."""
    form = event["form_response"]
    said = []
    for answer in form["answers"]:
        question = answer["field"]["ref"]
        if question in QUESTIONS:
            said.append(Signal.feedback(QUESTIONS[question], answer["number"]))
        elif question == "heard_from":
            source = HEARD_FROM.get(answer["choice"]["label"], "unknown")
            said.append(Signal.mention(source))
    if said:
        yield Visit(said, customer=form["hidden"].get("customer"))


survey = Receiver(
    touchpoint="survey.answer",
    check=HmacSignature(SECRET, header="Typeform-Signature", encoding="base64", prefix="sha256="),
    translate=answers,
    delivery_id=lambda event: event["event_id"],
    channel="email",
)

app = FastAPI()


@app.post("/webhooks/survey")
async def take(request: Request) -> Response:
    receipt = survey.receive(await request.body(), request.headers)
    return Response(status_code=receipt.status, headers=receipt.headers)


MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
marketing = { contact = "marketing@example.com" }

[[stage]]
name = "delivery"
phase = "customer"

[[touchpoint]]
name = "survey.answer"
stage = "delivery"
owner = "marketing"
"""

EVENT = {
    "event_id": "01KEXAMPLE0000000000000001",
    "event_type": "form_response",
    "form_response": {
        "form_id": "Xy12Ab",
        "token": "5f0c2e9d7b1a4c3e8d6f0a1b2c3d4e5f",
        "submitted_at": "2026-01-05T10:12:07Z",
        "hidden": {"customer": "cust-42"},
        "answers": [
            {
                "type": "number",
                "number": 9,
                "field": {"id": "aaaaaaaaaaa1", "type": "opinion_scale", "ref": "recommend_us"},
            },
            {
                "type": "number",
                "number": 2,
                "field": {"id": "aaaaaaaaaaa2", "type": "rating", "ref": "delivery"},
            },
            {
                "type": "choice",
                "choice": {"label": "A friend"},
                "field": {"id": "aaaaaaaaaaa3", "type": "multiple_choice", "ref": "heard_from"},
            },
            {
                "type": "text",
                "text": "The driver left it at number 12. Ask for Ada Lovelace.",
                "field": {"id": "aaaaaaaaaaa4", "type": "long_text", "ref": "anything_else"},
            },
        ],
    },
}


async def main() -> None:
    """The survey posts an answer; then again, for our answer was lost; then somebody else does."""
    body = json.dumps(EVENT).encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example.com") as sender:
        for name, given in (("answer", signature), ("again ", signature), ("forged", "AAAA")):
            headers = {"Typeform-Signature": f"sha256={given}"}
            answered = await sender.post("/webhooks/survey", content=body, headers=headers)
            print(name, answered.status_code)


if __name__ == "__main__":
    metrics.set_meter_provider(MeterProvider([reader]))
    cxtrace.configure(service_name="survey", journey_map=JourneyMap.loads(MAP), exporter=spans)
    asyncio.run(main())
    look("cx.")
    print(cxtrace.report().counts)
