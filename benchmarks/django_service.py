"""A service of Django that knows nothing of cxtrace: settings, one view, one query to SQLite."""

import io
from itertools import repeat
from time import process_time
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.load import COOKIES, PATH, SPENT

ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_CHARSET = "utf-8"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = __name__
SECRET_KEY = "a key that is only used in the benchmarks"
USE_TZ = True


def product(_: HttpRequest, number: int) -> JsonResponse:
    in_stock = stock(number)
    days = delivery(number) if in_stock else None
    return JsonResponse({"number": number, "price": price(number), "days": days})


def price(number: int) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT price FROM product WHERE number = %s", [number])
        (found,) = cursor.fetchone()
    return float(found)


def stock(_: int) -> int:
    return 3


def delivery(_: int) -> int:
    return 2


def spent(_: HttpRequest) -> JsonResponse:
    return JsonResponse(process_time(), safe=False)


urlpatterns = [path("products/<int:number>", product), path(SPENT[1:], spent)]


def make() -> Any:
    """The application, with something in its database. What gunicorn serves."""
    application = get_wsgi_application()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE product (number INTEGER PRIMARY KEY, name TEXT, price REAL)")
        cursor.execute("INSERT INTO product VALUES (42, 'Rain coat', 89.9)")
    return application


def asking() -> Any:
    """A function that asks the application so many times, as a server would."""
    application = make()
    environs = [_environ(headers) for headers in COOKIES]

    def run(calls: int) -> None:
        for number, _ in enumerate(repeat(None, calls)):
            response = application(dict(environs[number % len(environs)]), _start_response)
            for _chunk in response:
                pass
            response.close()

    return run


def _environ(headers: dict[str, str]) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "shop.example.com",
        "HTTP_USER_AGENT": "benchmark",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }


def _start_response(status: str, *_: Any) -> None:
    if status != "200 OK":
        raise RuntimeError(f"the application answered {status}")
