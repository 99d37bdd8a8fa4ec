"""Templates of paths: those of the map against those of every framework."""

import itertools
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _guard, _routes
from cxtrace._routes import LONGEST_PATH, Piece, Routes, Templates
from tests.strategies import identifiers, paths

pytestmark = pytest.mark.usefixtures("forgetful")


def found(routes: list[str], path: str, template: str | None = None, method: str = "GET") -> object:
    """Which of the routes a request leads to."""
    hit = Routes((route, route) for route in routes).find(method, path, lambda: template)
    return None if hit is None else hit[0]


# Templates


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/basket", [Piece("/basket")]),
        ("/", [Piece("/")]),
        ("/basket/", [Piece("/basket")]),
        # the map, FastAPI and Starlette
        ("/items/{id}", [Piece("/items/"), Piece("", "id")]),
        ("/items/{id:int}/", [Piece("/items/"), Piece("", "id")]),
        ("/files/{name:path}", [Piece("/files/"), Piece("", "name", many=True)]),
        ("/{a}-{b}.x", [Piece("/"), Piece("", "a"), Piece("-"), Piece("", "b"), Piece(".x")]),
        # aiohttp
        (r"/items/{id:\d+}", [Piece("/items/"), Piece("", "id")]),
        ("/files/{tail:.*}", [Piece("/files/"), Piece("", "tail", many=True)]),
        # Flask
        ("/items/<id>", [Piece("/items/"), Piece("", "id")]),
        ("/items/<int:id>", [Piece("/items/"), Piece("", "id")]),
        ("/items/<any(a, b):id>/", [Piece("/items/"), Piece("", "id")]),
        ("/files/<path:name>", [Piece("/files/"), Piece("", "name", many=True)]),
        # Django, with and without regular expressions
        ("items/<slug:id>/", [Piece("/items/"), Piece("", "id")]),
        ("items/<shop.Iso:id>/", [Piece("/items/"), Piece("", "id")]),
        (r"^items/(?P<id>[0-9]+)/$", [Piece("/items/"), Piece("", "id")]),
        (r"^items/(?P<id>(?:a|b(c))+)\Z", [Piece("/items/"), Piece("", "id")]),
        (r"^(?P<a>[\w\-]*)_(?P<b>\d+)/", [Piece("/"), Piece("", "a"), Piece("_"), Piece("", "b")]),
        (r"^best\-sellers/$", [Piece("/best-sellers")]),
    ],
)  # fmt: skip
def test_every_framework_writes_templates_in_its_way(template: str, expected: list[Piece]) -> None:
    """Text and parameters are found, whatever stands around them."""
    assert _routes.pieces(template) == expected


@pytest.mark.parametrize(
    "template",
    [
        "/orders/{order}/items/{item}",
        "/orders/{order_id:int}/items/{pk}/",
        "/orders/<int:order>/items/<item>",
        r"^orders/(?P<pk>\d+)/items/(?P<item>[^/]+)/$",
    ],
)
def test_templates_of_one_shape_are_the_same(template: str) -> None:
    """Names, kinds and slashes at the end do not count."""
    assert _routes.shape(template) == "/orders/{}/items/{}"


def test_the_parameters_are_named() -> None:
    """They come in the order of the path."""
    assert _routes.parameters("POST /{year}-{month}/{rest:path}".partition(" ")[2]) == [
        "year",
        "month",
        "rest",
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/a/b", True),
        ("/{a}/{b}/{c}/{d}", True),
        ("/{a}-{b}/{c}.{d}", True),
        ("/{a}/{b:path}", True),
        ("/{a}-{b}.{c}", False),
        ("/{a}{b}{c}", False),
        ("/{a:path}/x/{b:path}", False),
    ],
)
def test_what_could_take_long_to_compare_is_known(template: str, expected: bool) -> None:
    """Three parameters in one part, or two of any length, are too many."""
    assert _routes.is_quick(template) is expected


def test_a_name_may_stand_twice_or_be_none() -> None:
    """What a regular expression would refuse for a group is compared all the same."""
    assert _routes.pattern("/{a}/{a}").fullmatch("/x/y/") is not None
    assert _routes.pattern("/{1}/{ª}").fullmatch("/x/y") is not None


# Paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/basket/add/7", {"pk": "7"}),
        ("/basket/add/7/", {"pk": "7"}),
        ("/basket/add/ä b", {"pk": "ä b"}),
        ("/basket/add/", None),
        ("/basket/add/7/8", None),
        ("/shop/basket/add/7", None),
        ("/basket/add/7//", {"pk": "7"}),
    ],
)
def test_a_path_gives_its_parameters(path: str, expected: dict[str, str] | None) -> None:
    """A parameter is one part of the path, and not empty."""
    hit = Routes([("POST /basket/add/{pk}/", "add")]).find("POST", path)

    assert hit == (None if expected is None else ("add", expected))


@pytest.mark.parametrize("path", ["/basket", "/basket/", "/basket//"])
@pytest.mark.parametrize("route", ["GET /basket", "GET /basket/"])
def test_slashes_at_the_end_do_not_matter(route: str, path: str) -> None:
    """Neither in the map nor in the path."""
    assert found([route], path) == route


def test_the_root_is_a_path() -> None:
    """A path of slashes alone is the root."""
    assert found(["GET /"], "/") == found(["GET /"], "") == "GET /"


def test_text_of_its_own_comes_first() -> None:
    """A path that a route names is that route's, and of open ones the one that says most counts."""
    routes = ["GET /{any:path}", "GET /users/{id}", "GET /{kind}/{id}", "GET /users/me"]

    assert found(routes, "/users/me") == "GET /users/me"
    assert found(routes, "/users/you") == "GET /users/{id}"
    assert found(routes, "/shops/7") == "GET /{kind}/{id}"
    assert found(routes, "/shops") == "GET /{any:path}"


def test_the_longer_text_comes_first() -> None:
    """Of as many parameters, the route with more text of its own is the closer one."""
    assert found(["GET /u/{x:path}", "GET /u/f/{x}"], "/u/f/1") == "GET /u/f/{x}"


def test_a_route_of_any_method_comes_last() -> None:
    """``*`` is for the methods that have no route of their own."""
    routes = ["* /users/me", "POST /users/{id}"]

    assert found(routes, "/users/me", method="POST") == "POST /users/{id}"
    assert found(routes, "/users/me", method="WEBSOCKET") == "* /users/me"
    assert found(routes, "/users/7") is None


def test_the_first_of_two_that_are_the_same_counts() -> None:
    """A route that stands twice leads where it first led."""
    routes = Routes([("GET /a", 1), ("GET /a/", 2), ("GET /b/{x}", 3), ("GET /b/{y}", 4)])

    assert routes.find("GET", "/a") == (1, {})
    assert routes.find("GET", "/b/7") == (3, {"x": "7"})


def test_the_framework_has_the_last_word() -> None:
    """A path that the framework takes for another route is not the one that the map means."""
    routes = ["GET /users/{id}"]

    assert found(routes, "/users/me", "/users/me") is None
    assert found(routes, "/users/me", "/{page}/me") is None
    assert found(routes, "/users/me", "/users/<int:pk>/") == "GET /users/{id}"
    assert found(routes, "/users/me", None) == "GET /users/{id}"


def test_a_route_of_any_length_means_whatever_is_there() -> None:
    """The framework is not asked, for the map means all that is below."""
    assert found(["GET /users/{rest:path}"], "/users/me", "/users/me") == "GET /users/{rest:path}"


def test_another_route_that_fits_is_looked_for() -> None:
    """Where the framework does not mean the closest route, the next one that fits is taken."""
    routes = ["GET /users/{id}", "GET /{kind}/{id}"]

    assert found(routes, "/users/me", "/<kind>/<id>") == "GET /{kind}/{id}"


@pytest.mark.parametrize("template", ["/api", "/{rest:path}/x", "^items/(?:a|b)/$", r"(\d+)"])
def test_a_template_that_describes_another_path_is_no_word(template: str) -> None:
    """What is known of a mount, or a regular expression without names, excludes nothing."""
    assert found(["GET /api/{id}"], "/api/7", template) == "GET /api/{id}"


def test_the_framework_is_asked_only_about_what_varies() -> None:
    """A route without parameters needs no template; one that does not fit needs none either."""
    asked: list[str] = []
    routes = Routes([("GET /a", "a"), ("GET /b/{x}", "b")])
    for path in ("/a", "/c", "/b/7"):
        routes.find("GET", path, lambda path=path: asked.append(path))  # type: ignore[misc]

    assert asked == ["/b/7"]


def test_the_framework_is_asked_only_where_another_of_its_templates_fits() -> None:
    """Where it has none of another form for a path, it can mean nothing else."""
    asked: list[str] = []
    routes = Routes([("GET /b/{x}", "b")])
    every = Templates(["/b/<int:y>", "/b/me", "/{z}/you", "/c/{x}", "/b/{x}/{y}", "/b"])
    for path in ("/b/7", "/b/me", "/b/you", "/b/7/"):
        routes.find("GET", path, lambda path=path: asked.append(path), lambda: every)  # type: ignore[misc]

    assert asked == ["/b/me", "/b/you"]


def test_more_templates_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns of an application with very many routes are made once, not for each request."""
    every = Templates(f"/{number}/{{x}}" for number in range(1_100))
    every.fitting("/7/a")
    monkeypatch.setattr(_routes, "pattern", lambda template: pytest.fail(template))

    assert every.fitting("/1099/a") == ["/1099/{x}"]
    assert every.fitting("/1100/a") == []


def test_a_template_of_any_length_may_always_be_meant() -> None:
    """It may fit whatever a route fits, however many parts they have."""
    every = Templates(["/files/{rest:path}"])

    assert every.has_rival("/files/{}/{}", "/files/a/b")
    assert not every.has_rival("/items/{}", "/items/7")


def test_a_long_path_is_compared_with_no_template() -> None:
    """A strange path costs no time; a route without parameters may be as long as it likes."""
    long = "/" + "x" * LONGEST_PATH

    assert found(["GET /{a}", f"POST {long}"], long) is None
    assert found(["GET /{a}"], long[:-1]) == "GET /{a}"
    assert found([f"GET {long}"], long) == f"GET {long}"


def test_a_framework_that_fails_is_passed_over() -> None:
    """An error in the framework's own template is counted, and the path alone decides."""
    routes = Routes([("GET /b/{x}", "b")])

    assert routes.find("GET", "/b/7", lambda: {}["x"]) == ("b", {"x": "7"})
    assert routes.find("GET", "/b/7", lambda: 7) == ("b", {"x": "7"})  # type: ignore[arg-type, return-value]
    assert _guard.counts() == {"errors.template": 2}


# Paths that were made to take long

PARTS = ("{}", "x", "{}-{}", "{}{}", "-{}-{}-", "{}.{}", "{:path}", "{}-{:path}", "{:path}-{}")
"""What a part of a template may look like, with room for the names of its parameters."""

COMPARE = """
import json, sys
from cxtrace._routes import Routes
from cxtrace._model import OutcomeRule
from cxtrace._bound import Judged

templates, paths = json.load(sys.stdin)
for template in templates:
    routes = Routes([(f"GET {template}", 1)])
    rule = Judged(OutcomeRule(outcome="failed", redirect=template))
    for path in paths:
        routes.find("GET", path)
        rule.holds(302, lambda _: path)
print("compared")
"""


def named(parts: tuple[str, ...]) -> str:
    """A template of these parts, each parameter with a name of its own."""
    pieces = "/".join(("", *parts)).split("{")
    return "".join(f"{{p{n}{each}" if n else each for n, each in enumerate(pieces))


def strange() -> list[str]:
    """Paths of the greatest length, of the same few letters again and again."""
    units = ("-", "/-", "/--", "-.", "a-", *("-" * many + "/" for many in (20, 60, 100, 170, 250)))
    longest = [("/" + unit * LONGEST_PATH)[: LONGEST_PATH - 2] for unit in units]
    return [path + end for path in longest for end in ("", "-", "/y")]


def test_no_path_takes_long_to_compare() -> None:
    """The worst templates that a map may have, and redirects too, against the worst of paths."""
    many = [(*several, end) for several in itertools.product(PARTS, repeat=2) for end in PARTS[:3]]
    many += [(part,) * 9 + (end,) for part in PARTS for end in PARTS]
    templates = [each for each in map(named, many) if _routes.is_quick(each)]
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], input=json.dumps([templates, strange()]),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip

    assert len(templates) > 200
    assert done.stdout == "compared\n"


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("/{a}-{b}/{c}-{d}/{e}-{f}/x", 3),
        ("/{a}{b}", 1),
        ("/x/{a}.{b}/y", 1),
        ("/{a}/{b}", 0),
        ("/{a}-x/{b:path}", 0),
    ],
)
def test_a_part_with_two_parameters_is_tried_in_one_way(template: str, parts: int) -> None:
    """Once such a part fits it is not tried again, whatever comes after it."""
    looked_ahead = "(?:/|$))[^/]+"

    assert _routes.pattern(template).pattern.count(looked_ahead) == parts


def test_of_two_parameters_in_a_part_the_first_takes_what_it_can() -> None:
    """A path that can be divided in several ways gives the same parameters as ever."""
    routes = Routes([("GET /{a}-{b}/{c}-{d}/x", 1)])

    assert routes.find("GET", "/1-2-3/4-5/x") == (1, {"a": "1-2", "b": "3", "c": "4", "d": "5"})
    assert routes.find("GET", "/1-2-3/45/x") is None


# Properties


@given(paths, st.data())
def test_a_path_made_of_a_template_is_found_by_it(template: str, data: st.DataObject) -> None:
    """Whatever stands for the parameters, the path leads there and gives them back."""
    part = st.text("abcXY0 äß%é~", min_size=1, max_size=6)
    told = {name: data.draw(part) for name in _routes.parameters(template)}
    path = template.replace(":path", "").format(**told) + data.draw(st.sampled_from(["", "/"]))
    path = f"/{path.lstrip('/')}"
    hit = Routes([(f"GET {template}", template)]).find("GET", path, lambda: template)

    assert hit is not None
    assert hit[0] == template
    assert hit[1] == told


@given(st.lists(paths, min_size=1, max_size=4), paths, st.integers(0, 3), st.data())
def test_to_know_every_template_changes_nothing_but_the_time(
    templates: list[str], route: str, chosen: int, data: st.DataObject
) -> None:
    """Whatever the framework means, a request leads to the same as if it were always asked."""
    means = templates[chosen % len(templates)]
    part = st.sampled_from(["a", "b", "x-y", "7"])
    path = re.sub(r"{[^}]*}", lambda _: data.draw(part), data.draw(st.sampled_from([means, route])))
    routes, template = Routes([(f"GET {route}", 1), ("GET /{any}", 2)]), lambda: means

    always = routes.find("GET", path, template)

    assert routes.find("GET", path, template, lambda: Templates(templates)) == always


@given(st.lists(paths, max_size=4), identifiers.map("/{}".format) | paths, st.sampled_from("*G"))
def test_a_route_that_is_there_is_found(templates: list[str], path: str, method: str) -> None:
    """A template is a path too, and a route with parameters never hides one without."""
    plain = path.replace("{", "").replace("}", "").replace(":", "")
    routes = [*(f"{method} {template}" for template in templates), f"G {plain}"]

    hit = found(routes, plain, method="G")

    assert str(hit).rstrip("/ ") == f"G {plain}".rstrip("/ ")


@given(
    st.text("/{}<>:()?P^$\\ab[].*+|1ªé", max_size=30) | st.text(max_size=30),
    st.text("/ab1-é\n", max_size=20),
)
def test_no_template_is_too_strange(template: str, path: str) -> None:
    """Whatever the framework takes for a template, finding a route goes on."""
    hit = Routes([("GET /{a}", 1), ("GET /{rest:path}", 2)]).find("GET", path, lambda: template)

    assert hit is None or hit[0] in (1, 2)
    assert _guard.counts() == {}


@given(st.text("/{}<>:()?P^$\\ab[].*+|1ªé", max_size=30))
def test_no_route_is_too_strange(template: str) -> None:
    """A route of any text can be looked for."""
    routes = Routes([(f"GET {template}", 1)])

    assert routes.find("GET", "/a/b") in (None, (1, {})) or _routes.parameters(template)
