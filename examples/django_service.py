"""A Django service with touchpoints in a map alone: ``python examples/django_service.py``."""

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.test import Client
from django.urls import path
from django.views.decorators.http import require_POST
from opentelemetry.instrumentation.django import DjangoInstrumentor

import cxtrace
from cxtrace import JourneyMap

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }
product = { contact = "#team-checkout" }

[request]
customer = [{ user = "pk" }, { session = "customer_id" }]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /cart/" }

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"
match = { route = "POST /pay/{order}/", outcome = [
  { redirect = "/thank-you/", is = "completed" },
  { status = "200", is = "failed" },
] }

[[journey]]
name = "first_order"
goal = "checkout.pay"
routes = { direct = ["cart.view", "checkout.pay"] }
""")


def cart(request: HttpRequest) -> JsonResponse:
    request.session["customer_id"] = "cust-42"
    return JsonResponse({"goods": ["Rain coat"]})


@require_POST
def pay(request: HttpRequest, order: int) -> HttpResponse:
    if order < 100:
        return HttpResponseRedirect("/thank-you/")
    return HttpResponse(f"Customer {request.session['customer_id']}: your card was declined.")


urlpatterns = [path("cart/", cart), path("pay/<int:order>/", pay)]


def set_up() -> Any:
    """What your settings.py and wsgi.py do."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[
            "cxtrace.integrations.django.CXMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("SHOP_SECRET", "only for this example"),
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    cxtrace.configure(service_name="shop", journey_map=MAP)
    DjangoInstrumentor().instrument()
    return get_wsgi_application()


def main() -> None:
    """Three requests of one browser."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    set_up()
    browser = Client()
    browser.cookies["visitor"] = "v-1"
    print(browser.get("/cart/").json())
    for order in (7, 777):
        print(browser.post(f"/pay/{order}/").status_code)
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
