"""Names, stages and owners that ``cxtrace scaffold`` guesses, and the paths it writes."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxtrace import _routes
from cxtrace._map.lint import lint
from cxtrace._map.place import is_name
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.scaffold import naming, words
from cxtrace.platform.scaffold.draft import Draft, draft
from cxtrace.platform.scaffold.facts import Found, route
from cxtrace.platform.scaffold.targets import Application
from cxtrace.platform.scaffold.templates import (
    can_hold_a_slash,
    from_angles,
    from_regex,
    tidy,
)
from cxtrace.platform.scaffold.writing import write


def drafted(*found: Found, **more: object) -> Draft:
    """A draft of what an application holds."""
    return draft([Application("shop:app", "shop", "Flask", found)], "shop", **more)  # type: ignore[arg-type]


def loaded(made: Draft) -> JourneyMap:
    """The map as it is read again."""
    return JourneyMap.loads(write(made))


# Names


@pytest.mark.parametrize(
    ("target", "hint", "name"),
    [
        ("POST /basket/add/{pk}", "", "basket.add"),
        ("POST /api/v1/basket/add/{pk}", "", "basket.add"),
        ("POST /api/v2.1/orders", "place_order", "orders.place"),
        ("POST /orders", "create_order", "orders.create"),
        ("GET /orders", "order-list", "orders.browse"),
        ("GET /orders/{id}", "", "orders.view"),
        ("PUT /orders/{id}", "", "orders.replace"),
        ("PATCH /orders/{id}", "", "orders.change"),
        ("DELETE /orders/{id}", "", "orders.remove"),
        ("GET /products", "search_products", "products.search"),
        ("GET /checkout/payment-details", "", "checkout.payment_details.view"),
        ("POST /checkout", "", "checkout.submit"),
        ("WEBSOCKET /chat/{room}", "", "chat.connect"),
        ("* /checkout", "", "checkout.view"),
        ("GET /", "index", "home.view"),
        ("GET /{slug}", "get_item", "item.view"),
        ("GET /{category_slug}", "get", "category_slug.view"),
        ("GET /{api}", "view", "page.view"),
        ("GET /users.{format}", "", "users.view"),
        ("GET /newArrivals", "", "new_arrivals.browse"),
        ("GET /2fa", "", "page_2fa.view"),
        ("GET /Größe", "", "groe.view"),
        ("POST /webhooks/stripe", "", "stripe.submit"),
        ("GET /background-job", "", "background.view"),
        ("HEAD /alone", "", "alone.peek"),
        ("POST /{id}/delete", "delete_bill", "bill.delete"),
        ("POST /bills/{id}/delete", "delete_bill", "bills.delete"),
        ("POST /delete", "delete", "delete"),
        ("POST /{id}/import", "import_project", "project.import"),
    ],
)
def test_a_route_is_called_by_what_the_customer_does(target: str, hint: str, name: str) -> None:
    """Words of the path make the name, the verb comes from the path, the function or the method."""
    (step,) = drafted(Found("route", (target,), hint=hint)).steps

    assert step.name == name


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("shop.tasks.send_confirmation", "confirmation.send"),
        ("shop.tasks.notify_of_the_delivery", "delivery.notify"),
        ("shop.mail.welcome", "welcome"),
        ("worker", "page"),
        ("add", "add"),
        ("tasks.send_to", "to.send"),
    ],
)
def test_a_task_is_called_by_what_it_does(task: str, name: str) -> None:
    """The verb goes behind what it is about, as in the names of touchpoints."""
    (step,) = drafted(Found("task", (task,), hint=task)).steps

    assert (step.name, step.does) == (name, False)


def test_names_that_would_be_the_same_are_told_apart() -> None:
    """First by the method, then by words of the function, by a parameter, and by a number."""
    every = [
        route("GET", "/basket/add", hint="add_form"),
        route("POST", "/basket/add", hint="add"),
        route("GET", "/users/{id}", hint="get_user"),
        route("GET", "/users/{a}/{name}", hint="get_user_of_company"),
        route("GET", "/users/{a}/{b}/{name}", hint="get"),
        route("GET", "/api/users/{a}/{b}/{name}", hint="get"),
        route("GET", "/v1/users/{a}/{b}/{name}", hint="get"),
        Found("task", ("shop.mail.send_letter",)),
        Found("task", ("shop.print.send_letter",)),
    ]

    assert naming.names(every) == [
        "basket.add.view",
        "basket.add",
        "users.view",
        "users.view_company",
        "users.view_by_name",
        "users.view_2",
        "users.view_3",
        "letter.send",
        "print.letter.send",
    ]


def test_a_long_name_loses_its_first_words() -> None:
    """The end of a path tells most; what is too long for itself is cut, between words if it can."""
    deep = "/".join(f"part{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    paths = [f"/{deep}", f"/{'very_' * 20}x", f"/{'b' * 99}"]

    names = naming.names([route("GET", path) for path in paths])

    assert names == [
        "partq.partr.parts.partt.partu.partv.partw.partx.party.partz.view",
        f"{'_'.join(['very'] * 12)}.view",
        "bbbbbbbbbbbbbbbbbbbb.view",
    ]


TEMPLATES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=90).map("/{}".format),
    st.lists(
        st.sampled_from(
            [
                "api",
                "v1",
                "users",
                "{id}",
                "{p:path}",
                "service-call",
                "add",
                "a" * 70,
                "{a}-{b}-{c}",
            ]
        ),
        max_size=9,
    ).map(lambda parts: "/" + "/".join(parts)),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "WEBSOCKET", "*"])
ROUTES = st.builds(route, METHODS, TEMPLATES, hint=st.text(max_size=20))
TASKS = st.builds(lambda name: Found("task", (name,)), st.text(min_size=1, max_size=80))


@given(st.lists(st.one_of(ROUTES, TASKS), max_size=12))
@example([route("GET", "/" + "x" * 99)] * 3)
@example([route("GET", "/customer-service-call")])
def test_every_route_gets_a_valid_name_of_its_own(every: list[Found]) -> None:
    """Whatever the template, the name is valid, unique, and has no word of the inside."""
    names = naming.names(every)

    assert [name for name in names if not is_name(name)] == []
    assert len(set(names)) == len(every)
    written = "".join(
        f'[[touchpoint]]\nname = "{name}"\nstage = "a"\nowner = "b"\n' for name in names
    )
    head = 'schema = "cxtrace.map/1"\nname = "x"\n[functions]\nb = {}\n'
    stage = '[[stage]]\nname = "a"\nphase = "customer"\n'
    findings = lint(JourneyMap.loads(head + stage + written))
    assert [each for each in findings if each.rule == "system-word"] == []


@given(st.lists(ROUTES, max_size=8))
@example([route("GET", "/a/{x}/{p:path}"), route("GET", "/a/{y}/{q}")])
@example([route("GET", "/{a:path}/x/{b:path}"), route("GET", "/{a:path}")])
def test_whatever_the_routes_the_map_is_valid(every: list[Found]) -> None:
    """A map can be read that was written of any routes, and it holds each of them."""
    made = drafted(*every, everything=True)

    if not every:
        assert made.steps == []
        return
    targets = {
        _routes.shape(str(match.route))
        for touchpoint in loaded(made).touchpoints.values()
        for match in touchpoint.match
    }
    assert targets == {_routes.shape(f"{m} {tidy(p)}") for m, p in map(_parted, every)}


def _parted(found: Found) -> tuple[str, str]:
    method, _, path = found.targets[0].partition(" ")
    return method, path


# Paths


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/", "/"),
        ("", "/"),
        ("basket/", "/basket"),
        ("/a//b/", "/a/b"),
        ("/a/{id:int}", "/a/{id}"),
        ("/a/{p:path}", "/a/{p:path}"),
        ("/a/x{p:path}", "/a/{p:path}"),
        ("/{a:path}/x/{b:path}", "/{a:path}"),
        ("/{y}-{m}", "/{y}-{m}"),
        ("/{y}-{m}-{d}", "/{y_m_d}"),
        ("/a b/c", "/{part}/c"),
        ("/a/{}", "/a/{part}"),
        ("/a/<x>", "/a/{part}"),
        ("/a/{customer-id}", "/a/{customer_id}"),
        ("/a\x07", "/{part}"),
        ("/" + "x" * 500, "/{part:path}"),
        ("/a/" + "b/" * 300, "/a/" + "b/" * 193 + "{part:path}"),
    ],
)
def test_a_path_is_written_as_the_map_can_say_it(template: str, path: str) -> None:
    """What the grammar of a map has no form for becomes a parameter that takes it."""
    assert tidy(template) == path
    assert _routes.is_quick(path)


@pytest.mark.parametrize(
    ("expression", "paths"),
    [
        (r"^basket/add/(?P<pk>\d+)/$", ["basket/add/{pk}/"]),
        (r"^(?P<path>.*)$", ["{path:path}"]),
        (r"^c/(?P<slug>[\w-]+(/[\w-]+)*)_(?P<pk>\d+)/\Z", ["c/{slug:path}_{pk}/"]),
        (r"^x(?P<a>[^/.]+)/?$", ["x{a}"]),
        (r"^old\-page\.html", ["old-page.html"]),
        (r"^items/(?:page/(?P<page>\d+)/)?$", ["items/", "items/page/{page}/"]),
        (r"^(?:a|b)/(\d+)$", ["a/{part}", "b/{part}"]),
        (r"^a|^b", ["a", "b"]),
        (
            r"(?i)^[a-z][0-9]*/.+/\d{4}x{0,2}",
            ["{part}/{part:path}/{part}", "{part}/{part:path}/{part}x"],
        ),
        (r"^colou?r$", ["color", "colour"]),
        (r"^(?!admin)(?i:shop)$", ["shop"]),
        (r"^[]a]+[", ["{part}"]),
        (r"^(open", ["{part}"]),
        (
            "^" + "(?:a|b)" * 6,
            ["aaaaaa", "aaaaab", "aaaaba", "aaaabb", "aaabaa", "aaabab", "aaabba", "aaabbb"],
        ),
    ],
)
def test_a_regular_expression_is_spelled_out(expression: str, paths: list[str]) -> None:
    """Groups become parameters, and what is optional gives several paths, the shortest first."""
    assert from_regex(expression) == paths


@given(st.from_regex(r"[\w/\\.()|?*+\[\]{}^$:<>-]{0,40}", fullmatch=True))
def test_no_regular_expression_is_too_strange(expression: str) -> None:
    """Even what is none gives a few paths that a map can say."""
    found = from_regex(expression)

    assert 1 <= len(found) <= 8
    assert [path for path in found if not re.fullmatch(r"/\S*", tidy(path))] == []


def test_converters_with_arguments_are_read() -> None:
    """The parameter of a converter is its name, whatever arguments the converter has."""
    template = '/<any("a)", b):kind>/<int(min=1):pk>/<name>/<path:rest>'

    found = from_angles(template, lambda kind, _: kind == "path")

    assert found == "/{kind}/{pk}/{name}/{rest:path}"


@pytest.mark.parametrize(
    ("expression", "can"),
    [
        (r"[^/]+", False),
        (r"\d+", False),
        (r".+", True),
        (r"a/b", True),
        (r"[", False),
        (r"\D+", True),
    ],
)
def test_what_reaches_over_parts_of_a_path_is_known(expression: str, can: bool) -> None:
    """A parameter that can hold a slash takes any number of parts."""
    assert can_hold_a_slash(expression) is can


# Stages and owners


@pytest.mark.parametrize(
    ("path", "stage", "owner"),
    [
        ("/search", "awareness", "marketing"),
        ("/catalogue/{slug}", "consideration", "marketing"),
        ("/basket", "purchase", "sales"),
        ("/checkout/payment", "purchase", "finance"),
        ("/accounts/orders", "usage", "sales"),
        ("/login", "onboarding", "product"),
        ("/orders/{id}/return", "service", "service"),
        ("/products/{id}/reviews", "loyalty", "marketing"),
        ("/newsletter/unsubscribe", "former_customer", "marketing"),
        ("/close-account", "former_customer", "product"),
        ("/whatever", "usage", "product"),
    ],
)
def test_stage_and_owner_follow_from_words(path: str, stage: str, owner: str) -> None:
    """What the words say nothing about is usual: usage, and the owner that is neutral."""
    (step,) = drafted(route("GET", path)).steps

    assert (step.stage.value, step.owner.value) == (stage, owner)


def test_the_path_tells_more_than_the_function_and_its_tags() -> None:
    """A word of the function counts where the path has none, and a tag where neither has."""
    hinted = drafted(route("GET", "/x", hint="view_basket", about=("Support",)))
    tagged = drafted(route("GET", "/y", hint="y", about=("Support",)))
    spoken = drafted(route("GET", "/login", hint="view_basket", about=("Support",)))

    stages = [made.steps[0].stage for made in (hinted, tagged, spoken)]
    assert [(guess.value, guess.word) for guess in stages] == [
        ("purchase", "basket"),
        ("service", "support"),
        ("onboarding", "login"),
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/openapi.json", "documentation of the API"),
        ("/api/v1/docs", "documentation of the API"),
        ("/redoc", "documentation of the API"),
        ("/static/{path:path}", "static files"),
        ("/metrics", "metrics, for monitoring"),
        ("/campaigns/{id}/metrics", ""),
        ("/admin/users", "pages for staff"),
        ("/favicon.ico", "for machines"),
        ("/.well-known/{x}", "for machines"),
        ("/sw.js", "for browsers"),
        ("/__debug__/x", "tools of developers"),
        ("/health", "checks of health"),
        ("/api/health_check/db", "checks of health"),
        ("/healthz", "checks of health"),
        ("/health-insurance", ""),
        ("/health/tips", ""),
        ("/status", ""),
        ("/", ""),
        ("/documents", ""),
    ],
)
def test_what_no_customer_meets_is_known_by_its_path(path: str, reason: str) -> None:
    """Such a path has a reason to be left out, and no other path has."""
    assert words.technical(path) == reason


# The map


def test_head_and_options_are_left_out_where_another_method_is_answered() -> None:
    """They come with the others; a path that answers HEAD alone stays."""
    made = drafted(
        *(route(method, "/a") for method in ("GET", "HEAD", "OPTIONS")), route("HEAD", "/b")
    )

    assert [step.targets for step in made.steps] == [("GET /a",), ("HEAD /b",)]
    assert made.reasons() == {
        "answered like the other methods of the path": {"/a": ["HEAD", "OPTIONS"]}
    }


def test_what_is_left_out_stands_in_the_map_with_its_reason() -> None:
    """A comment at the end lists each path once, with its methods."""
    made = drafted(route("GET", "/a"), route("GET", "/docs"), route("HEAD", "/docs"))

    assert write(made).endswith(
        "takes in what no customer meets:\n# documentation of the API (1)\n#   GET, HEAD /docs\n"
    )


def test_paths_and_tasks_can_be_left_out_by_name() -> None:
    """A path takes with it what is below it, and nothing that is only called alike."""
    made = drafted(
        *(route("GET", path) for path in ("/dashboard", "/dashboard/x", "/dashboards", "/a")),
        Found("task", ("shop.staff.report",)),
        Found("task", ("shop.mail",)),
        without=["/dashboard/", "shop.staff"],
        everything=True,
    )

    targets = sorted(step.targets[0] for step in made.steps)
    assert targets == ["GET /a", "GET /dashboards", "shop.mail"]


def test_routes_that_a_map_cannot_tell_apart_are_one_touchpoint() -> None:
    """Two paths that differ in the names of their parameters alone share a touchpoint."""
    made = drafted(
        route("GET", "/users/{id}", hint="user"),
        route("GET", "/users/{name}", hint="by_name"),
        route("GET", "/users/{id}/"),
        Found("task", ("a",)),
        Found("task", ("a",)),
    )

    assert [step.targets for step in made.steps if step.found.kind == "route"] == [
        ("GET /users/{id}", "GET /users/{name}")
    ]
    assert len(loaded(made).touchpoints) == 2


def test_every_guess_is_marked() -> None:
    """Name, stage, owner and influence say that they are guessed, and from what."""
    text = write(drafted(route("POST", "/basket/add/{pk}", hint="add_product")))

    assert (
        """
[[touchpoint]]
name = "basket.add"  # guess: from the path and add_product
stage = "purchase"  # guess: the word basket
owner = "sales"  # guess: the word basket
influence = { sales = 1.0 }  # guess: the owner alone
match = { route = "POST /basket/add/{pk}" }
"""
        in text
    )


def test_several_paths_to_one_touchpoint_are_a_list() -> None:
    """One path stands alone, as a person would write it; several stand in brackets."""
    made = drafted(Found("route", ("GET /items", "GET /items/page/{page}")))

    assert ('match = [{ route = "GET /items" }, { route = "GET /items/page/{page}" }]\n') in write(
        made
    )


@pytest.mark.parametrize(("kind", "user"), [("Flask", "id"), ("Django", "pk")])
def test_the_rules_that_cannot_be_guessed_are_shown(kind: str, user: str) -> None:
    """They stand in comments, and are right as soon as the marks of the comment are away."""
    made = draft([Application("a:b", "a", kind, (route("GET", "/a"),))], "a")

    text = write(made)

    shown = (
        f'# customer = [{{ session = "customer_id" }}, {{ user = "{user}" }},'
        ' { cookie = "visitor", kind = "anonymous" }]\n'
        '# journey  = [{ header = "X-Journey-Id" }, { cookie = "visitor" }]\n'
    )
    assert f"# [request]\n{shown}" in text
    spoken = re.sub(r"^# (?=\[request\]|customer|journey)", "", text, flags=re.MULTILINE)
    request = JourneyMap.loads(spoken).request
    assert (len(request.customer), len(request.journey)) == (3, 2)


def test_what_other_systems_call_is_marked() -> None:
    """A webhook is a route, so it is there; and the map says that it may not be a touchpoint."""
    text = write(drafted(route("POST", "/webhooks/stripe"), route("POST", "/pay")))

    assert text.count("# guess: another system calls this, and no customer; if so, remove it") == 1


def test_a_journey_leads_through_its_stages_to_what_is_achieved() -> None:
    """Steps stand in the order of stages; the goal is the last thing done, if one is."""
    paths = [
        "GET /thank-you",
        "POST /pay",
        "POST /basket",
        "GET /products",
        "GET /help",
        "GET /faq",
    ]
    made = drafted(*(Found("route", (path,)) for path in paths))

    buy, help_ = loaded(made).journeys.values()
    assert buy.routes["guessed"] == (
        "products.browse",
        "basket.submit",
        "pay",
        "thank_you.view",
    )
    assert (buy.goal, help_.name, help_.goal) == ("pay", "get_help", "faq.view")


@pytest.mark.parametrize(
    ("targets", "goals"),
    [
        (["GET /login", "POST /login"], {}),
        (["GET /register", "GET /welcome"], {}),
        (["POST /auth/register", "POST /login"], {"join": "auth.register"}),
        (["POST /register", "POST /sign-in"], {"join": "register"}),
        (["POST /logout", "GET /profile"], {}),
        (["POST /password/change", "POST /api/auth", "POST /sessions"], {}),
        (["POST /settings", "POST /logout"], {"use": "settings.submit"}),
        (["POST /session/{id}/notes"], {"use": "session.notes.create"}),
        (["GET /basket", "GET /thank-you"], {"buy": "thank_you.view"}),
        (["POST /webhooks/payment"], {}),
    ],
)
def test_no_journey_ends_at_a_login(targets: list[str], goals: dict[str, str]) -> None:
    """What only leads to something is no goal; a journey without a goal is left out."""
    made = drafted(*(Found("route", (target,)) for target in targets))

    assert {way.name: way.goal for way in made.journeys} == goals
    assert len(loaded(made).touchpoints) == len(targets)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("shop.cleanup", "tasks of upkeep"),
        ("shop.tasks.clean_up_sessions", "tasks of upkeep"),
        ("shop.sync_stock", "tasks of upkeep"),
        ("shop.nightly.run", "tasks of upkeep"),
        ("shop.purgeCarts", "tasks of upkeep"),
        ("shop.vacuum", "tasks of upkeep"),
        ("shop.refresh_cache", "tasks of upkeep"),
        ("shop.healthcheck", "tasks of upkeep"),
        ("shop.refresh_offer", ""),
        ("shop.async_invoice", ""),
    ],
)
def test_tasks_of_upkeep_are_left_out(task: str, reason: str) -> None:
    """They are listed with their reason, and ``--all`` takes them in."""
    found = Found("task", (task,))

    made = drafted(found)

    assert made.reasons() == ({reason: {task: [""]}} if reason else {})
    assert len(drafted(found, everything=True).steps) == 1


def test_a_long_route_stands_one_step_a_line() -> None:
    """So that steps can be deleted and moved."""
    text = write(drafted(*(route("GET", f"/basket/page{letter}") for letter in "abcdefgh")))

    assert '\nguessed = [\n  "basket.pagea.view",\n  "basket.pageb.view",\n' in text


@given(st.text(min_size=1, max_size=30))
def test_no_text_breaks_out_of_a_comment(text: str) -> None:
    """Names of functions, reasons and targets are escaped."""
    found = Found("route", ("GET /a",), hint=text)
    left = Found("task", (text,), technical="for machines")
    made = draft([Application(text, "a", "Flask", (found, left))], "a")

    (touchpoint,) = loaded(made).touchpoints.values()
    assert touchpoint.match[0].route == "GET /a"
