"""Links: from an id, or a name of the map, to the search that finds its traces."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import attrs
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace.cli import main
from cxtrace.cli._demo.reading import jaeger_url
from cxtrace.cli.link import NO_SERVICE
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.collector.journeys import span_metrics
from cxtrace.platform.links import boards, explore, jaeger_files, queries, urls
from cxtrace.platform.links.encoding import Placeholder
from cxtrace.platform.links.searches import ATTRIBUTE, Kind, Search, is_of_events, search_for
from cxtrace.privacy import HmacPseudonymiser, Key, journey_id

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "journeys.toml"
SHOP = JourneyMap.load(EXAMPLE)

OLD, NEW = "o" * 40, "n" * 40
ONE, TWO = Key(OLD.encode()), Key(NEW.encode(), "q2")
JAEGER = ("--jaeger", "http://jaeger:16686", "--service", "storefront")
JOURNEY = "17b1faeef4f96eef9730ede675d55c6f"

hostile = st.text(
    st.sampled_from("\"'`\\\n\r\t\x00{}$<>#&?=%+/| äß漢😀")
    | st.characters(exclude_categories=["Cs"])
)
kinds = st.sampled_from(list(ATTRIBUTE))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs ``cxtrace link`` with two keys in the environment."""
    for name in ("CXTRACE_KEY_FILE", "CXTRACE_MAP", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CXTRACE_KEY", f"q2 = {NEW}\n{OLD}")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["link", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def asked(url: str) -> dict[str, str]:
    """What a URL asks for, behind ``?`` or behind the ``#/?`` of a page."""
    parts = urlsplit(url)
    found = parse_qs(parts.query or parts.fragment.partition("?")[2], strict_parsing=True)
    return {name: value for name, (value,) in found.items()}


# Addresses


@given(kinds, hostile, hostile.filter(bool))
def test_jaeger_is_asked_for_what_was_given(kind: Kind, value: str, service: str) -> None:
    """Whatever the value and the service's name, they arrive as they are, and nothing else does."""
    found = asked(urls.jaeger("http://jaeger/", search_for(kind, value), service))

    broken = {"cx.promise.result": "broken"} if kind == "promise" else {}
    assert json.loads(found.pop("tags")) == {ATTRIBUTE[kind]: value, **broken}
    assert found == {"service": service, "lookback": "2d", "limit": "200"}


@given(kinds, hostile, hostile)
def test_grafana_is_asked_for_what_was_given(kind: Kind, value: str, uid: str) -> None:
    """Explore is opened with one query of the data source, in the form of schema version 1."""
    url = urls.grafana("http://grafana", search_for(kind, value), uid)
    found = asked(url)
    (pane,) = json.loads(found["panes"]).values()
    (query,) = pane["queries"]

    assert url.startswith("http://grafana/explore?")
    assert found["schemaVersion"] == "1"
    assert pane["datasource"] == query["datasource"]["uid"] == uid
    assert (query["datasource"]["type"], query["queryType"]) == ("tempo", "traceql")
    assert query["query"] == queries.traceql(search_for(kind, value))
    assert pane["range"] == {"from": "now-2d", "to": "now"}


@given(hostile)
def test_a_value_cannot_leave_its_string(value: str) -> None:
    """In TraceQL and LogsQL a value is one string, as Go writes it, without a line break."""
    search = Search({"cx.journey.id": value})
    string = re.fullmatch(r"\{ span\.cx\.journey\.id = (.*) \}", queries.traceql(search), re.DOTALL)

    assert string is not None
    assert queries.logsql(search) == f'"span_attr:cx.journey.id":={string[1]}'
    assert re.fullmatch(r'"([^"\\\x00-\x1f]|\\["\\bfnrt]|\\u[0-9a-f]{4})*"', string[1])
    assert json.loads(string[1]) == value


def test_a_broken_promise_is_looked_for_in_events() -> None:
    """In Tempo it is in the scope of events."""
    assert queries.traceql(search_for("promise", "pay_fast")) == (
        '{ event.cx.promise.id = "pay_fast" && event.cx.promise.result = "broken" }'
    )


@given(st.dictionaries(st.from_regex(r"cx(\.[a-z_]+){2}", fullmatch=True), hostile))
def test_jaeger_in_grafana_is_asked_for_tags(attributes: dict[str, str]) -> None:
    """The tags are logfmt, where each value is a string of its own, and Explore has one query."""
    url = explore.jaeger("http://g/", Search(attributes), "check out", "j", ("now-1h", "now"))
    (pane,) = json.loads(asked(url)["panes"]).values()
    (query,) = pane["queries"]
    told = re.findall(r'(\S+?)=("(?:[^"\\]|\\.)*")(?: |$)', query["tags"])

    assert {name: json.loads(value) for name, value in told} == attributes
    assert (query["service"], query["queryType"], query["limit"]) == ("check out", "search", 200)
    assert pane["datasource"] == query["datasource"]["uid"] == "j"
    assert pane["range"] == {"from": "now-1h", "to": "now"}


any_text = hostile | st.text(st.characters(categories=["Cs"]) | st.sampled_from("${}#a"))


@example("\ud800${__value.raw}\udbff")
@given(any_text)
def test_only_a_placeholder_stays_as_it_is(value: str) -> None:
    """Whatever a value looks like, it is encoded; what others replace is found in its place."""
    left = Placeholder("${__value.raw}")
    search = Search({"cx.stage.name": value, "cx.owner.function": left})

    for url in (
        urls.jaeger("http://j", search, value),
        explore.jaeger("http://g", search, value, value),
        explore.tempo("http://g", search, value, (value, value), {"cx.journey.name": value}),
        boards.url("http://g", "uid", {"stage": value, "owner": left}),
    ):
        before, found, after = url.partition(left)
        assert found
        assert re.fullmatch(r"[\w%.~&=:/?-]*", before + after, re.ASCII)
    as_text = value.encode(errors="replace").decode()
    assert json.loads(asked(urls.jaeger("", Search({"t": value}), "s"))["tags"]) == {"t": as_text}


def test_a_trace_has_an_address() -> None:
    """An id never leaves its place in the path."""
    assert urls.jaeger_trace("http://j/", "a/../b?") == "http://j/trace/a%2F..%2Fb%3F"


@pytest.mark.parametrize(
    ("base", "place"),
    [
        ("https://ops.example:8443/jaeger/", "https://ops.example:8443/jaeger"),
        ("http://[::1]:16686", "http://[::1]:16686"),
        ("http://j/{{ .Value }}", "http://j/%7B%7B%20.Value%20%7D%7D"),
    ],
)
def test_where_a_page_is(base: str, place: str) -> None:
    """It stands as it was given, but for what a template would take for its own."""
    assert urls.jaeger_trace(base, "1") == f"{place}/trace/1"


def test_attributes_of_events_are_those_of_the_registry() -> None:
    """Tempo finds an attribute only where it is looked for, in spans or in their events."""
    in_events, in_spans = (
        {
            str(each["ref"])
            for group in yaml.safe_load((ROOT / "semconv" / f"{name}.yaml").read_text())[name]
            for each in group["attributes"]
            if "ref" in each
        }
        for name in ("events", "spans")
    )

    assert len(in_events - in_spans) > 30
    assert {name for name in in_events | in_spans if is_of_events(name)} == in_events - in_spans


def test_victoriatraces_opens_its_page() -> None:
    """The search is behind the `#` of its page."""
    url = urls.victoriatraces("http://traces:10428/", search_for("owner", "finance"))

    assert url.startswith("http://traces:10428/select/vmui/#/?query=")
    assert asked(url) == {
        "query": '"span_attr:cx.owner.function":="finance"',
        "g0.relative_time": "none",
        "g0.range_input": "2d",
        "limit": "200",
    }


def test_a_period_is_said_in_the_way_of_each() -> None:
    """Jaeger counts microseconds, Grafana milliseconds, and VictoriaTraces days until a moment."""
    search, period = search_for("stage", "purchase"), urls.Period.until(1_800_000_000, days=14)

    assert asked(urls.jaeger("http://j", search, "shop", period)) == {
        "service": "shop",
        "tags": '{"cx.stage.name":"purchase"}',
        "lookback": "custom",
        "start": "1798790400000000",
        "end": "1800000000000000",
        "limit": "200",
    }
    (pane,) = json.loads(asked(urls.grafana("http://g", search, "t", period))["panes"]).values()
    assert pane["range"] == {"from": "1798790400000", "to": "1800000000000"}
    found = asked(urls.victoriatraces("http://v", search, period))
    assert (found["g0.range_input"], found["g0.end_input"]) == ("14d", "2027-01-15T08:00:00")


def test_the_demo_has_the_same_address() -> None:
    """What the demo prints is what `cxtrace link` prints."""
    url = urls.jaeger("http://j", search_for("journey", JOURNEY), "storefront")

    assert jaeger_url("http://j", JOURNEY) == url


# The command


def test_the_address_of_a_journey(run: Run) -> None:
    """One search is one line, to be clicked on or piped."""
    expected = urls.jaeger("http://jaeger:16686", search_for("journey", JOURNEY), "storefront")

    assert run("journey", JOURNEY, *JAEGER) == (0, f"{expected}\n", "")


@pytest.mark.parametrize("kind", ["stage", "touchpoint", "owner", "promise"])
def test_the_address_of_a_name(run: Run, kind: Kind) -> None:
    """Names of the map stand in the address as they are."""
    expected = urls.grafana("http://g:3000", search_for(kind, "a.name"), "cx-tempo")

    assert run(kind, "a.name", "--grafana", "http://g:3000") == (0, f"{expected}\n", "")


def test_a_customer_is_looked_for_under_each_key(run: Run) -> None:
    """The newest key first; the raw id is nowhere."""
    code, out, _ = run("customer", "cust-42", "--tenant", "acme", *JAEGER, "--json")
    found = json.loads(out)

    assert code == 0
    assert "cust-42" not in unquote(out)
    assert [(each["backend"], each["service"], each["key_id"]) for each in found] == [
        ("Jaeger", "storefront", "q2"),
        ("Jaeger", "storefront", ONE.key_id),
    ]
    assert [json.loads(asked(each["url"])["tags"]) for each in found] == [
        {"enduser.pseudo.id": HmacPseudonymiser(key).pseudonym("cust-42", "acme")}
        for key in (TWO, ONE)
    ]


def test_several_addresses_say_which_is_which(run: Run) -> None:
    """A line before each tells page, service and key."""
    _, out, _ = run(
        "customer", "cust-42", *JAEGER, "--service", "payments", "--grafana", "http://g"
    )

    assert out.splitlines()[::2] == [
        "Jaeger  storefront  q2",
        "Jaeger  payments  q2",
        "Grafana  q2",
        f"Jaeger  storefront  {ONE.key_id}",
        f"Jaeger  payments  {ONE.key_id}",
        f"Grafana  {ONE.key_id}",
    ]
    assert all(line.startswith("  http://") for line in out.splitlines()[1::2])


def test_a_pseudonym_needs_no_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied from a span is looked for as it is."""
    monkeypatch.delenv("CXTRACE_KEY")
    pseudonym = HmacPseudonymiser(ONE).pseudonym("cust-42")
    code, out, _ = run("customer", pseudonym, *JAEGER)

    assert code == 0
    assert json.loads(asked(out.strip())["tags"]) == {"enduser.pseudo.id": pseudonym}


@pytest.mark.parametrize("given", ["ann@example.com", "+49 170 1234567", "an order", "a\nb"])
def test_an_id_of_a_journey_that_is_no_token_is_hashed(run: Run, given: str) -> None:
    """It is what the services send for it, under each key."""
    code, out, _ = run("journey", given, *JAEGER, "--json")
    found = [json.loads(asked(each["url"])["tags"]) for each in json.loads(out)]

    assert code == 0
    assert found == [
        {"cx.journey.id": journey_id(given, lambda key=key: key)}  # type: ignore[misc]
        for key in (TWO, ONE)
    ]
    assert given not in unquote(out)


def test_the_value_may_come_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no history of commands keeps the id of a customer."""
    monkeypatch.setattr("sys.stdin", io.StringIO("cust-42\r\ncust-43\n"))
    _, piped, _ = run("customer", *JAEGER)

    assert piped == run("customer", "cust-42", *JAEGER)[1]


def test_the_keys_of_a_file(run: Run, tmp_path: Path) -> None:
    """``--file`` comes before the environment."""
    file = tmp_path / "keys"
    file.write_text(OLD, encoding="utf-8")
    _, out, _ = run("customer", "cust-42", *JAEGER, "--file", str(file))

    assert json.loads(asked(out.strip())["tags"]) == {
        "enduser.pseudo.id": HmacPseudonymiser(ONE).pseudonym("cust-42")
    }


def test_the_service_is_never_that_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """OTEL_SERVICE_NAME names a service that runs here: neither link nor files depend on it."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "fulfilment")

    assert NO_SERVICE in run("journey", JOURNEY, "--jaeger", "http://j")[2]
    assert main(["jaeger", str(EXAMPLE)]) == 2
    assert main(["rules", str(EXAMPLE), "--jaeger", "http://j"]) == 0
    assert "fulfilment" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["jaeger", "rules"])
def test_a_service_has_a_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one, such as that of a variable that is not set, is refused."""
    assert main([command, str(EXAMPLE), "--service", ""]) == 2
    assert "argument --service: name the service" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("stage", "purchse", "purchase"),
        ("touchpoint", "checkout.pya", "checkout.pay"),
        ("owner", "prodcut", "product"),
        ("promise", "pay_fst", "pay_fast"),
    ],
)
def test_a_name_must_be_of_the_map(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, wrong: str, right: str
) -> None:
    """A name that the map does not have is refused with the one that was meant."""
    asks = ("--grafana", "http://g")

    assert run(kind, right, *asks, "--map", str(EXAMPLE))[0] == 0
    monkeypatch.setenv("CXTRACE_MAP", str(EXAMPLE))
    code, out, err = run(kind, wrong, *asks)
    assert (code, out) == (2, "")
    assert f'the map has no {kind} "{wrong}"; did you mean "{right}"?' in err


def test_a_name_that_is_not_planned_is_searched_for(run: Run) -> None:
    """With --unplanned the map is not asked, and for an id of a journey it never is."""
    asks = ("--grafana", "http://g", "--map", str(EXAMPLE))

    assert run("touchpoint", "kiosk.pay", *asks)[0] == 2
    assert run("touchpoint", "kiosk.pay", *asks, "--unplanned")[0] == 0
    assert run("journey", JOURNEY, *asks)[0] == 0


def test_a_map_that_is_wrong_is_told(run: Run, tmp_path: Path) -> None:
    """Its problems are a finding, and a file that is missing is wrong use."""
    file = tmp_path / "map.toml"
    asks = ("owner", "it", "--grafana", "http://g", "--map", str(file))

    assert run(*asks)[0::2] == (2, f"cxtrace link: no such file: {file}\n")
    file.touch()
    code, out, err = run(*asks)
    assert (code, out) == (1, "")
    assert "the file holds no map" in err


def test_days_are_counted_until_now(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address holds the moments, to the end of the second in which it is made."""
    monkeypatch.setattr("cxtrace.cli.link.time.time", lambda: 1_800_000_000.7)
    _, out, _ = run("journey", JOURNEY, *JAEGER, "--days", "14")

    assert asked(out.strip())["start"] == "1798790401000000"
    assert asked(out.strip())["end"] == "1800000001000000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["journey", JOURNEY], "say where traces are"),
        (["journey", JOURNEY, "--jaeger", "http://j"], "name it with --service"),
        (["journey", JOURNEY, *JAEGER, "--service", " "], "argument --service: name the service"),
        (["journey", "", *JAEGER], "which journey?"),
        (["customer", "cust-42", *JAEGER, "--tenant", ""], "--tenant must be text"),
        (["promise", "p", "--victoriatraces", "http://v"], "does not search the events"),
        (["journey", JOURNEY, "--jaeger", "jaeger:16686"], "begins with http:// or https://"),
        (["journey", JOURNEY, "--jaeger", "http://[j"], "begins with http:// or https://"),
        (["journey", JOURNEY, "--jaeger", "http://j/?a=b"], "begins with http:// or https://"),
        (["journey", JOURNEY, *JAEGER, "--days", "0"], "is no number from 1"),
        (["journey", JOURNEY, *JAEGER, "--days", "x"], "is no number from 1"),
        (["order", JOURNEY, *JAEGER], "invalid choice: 'order'"),
        (["customer", "cust-42", *JAEGER, "--file", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], message: str) -> None:
    """It says what to do, and prints no address."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("arguments", [["customer", "cust-42"], ["journey", "ann@example.com"]])
def test_without_a_key_nobody_is_found(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """An id that is somebody's never goes into an address instead."""
    monkeypatch.delenv("CXTRACE_KEY")
    code, out, err = run(*arguments, *JAEGER)

    assert (code, out) == (2, "")
    assert "CXTRACE_KEY" in err
    assert arguments[1] not in err


# Jaeger's files


def filled(template: str, tags: dict[str, str], *, is_url: bool) -> str:
    """A template as Jaeger's page fills it: `#{name}` becomes the value, encoded in a URL."""

    def value(hole: "re.Match[str]") -> str:
        found = tags[hole[1]]
        return "".join(f"%{byte:02X}" for byte in found.encode()) if is_url else found

    return re.sub(r"#\{([^{}]*)\}", value, template)


def patterns(*services: str, journey_map: JourneyMap | None = None) -> list[dict[str, Any]]:
    """The links of Jaeger's page."""
    return list(jaeger_files.ui_document(journey_map or SHOP, services)["linkPatterns"])


@example("journey", "#{cx.journey.id}")
@given(kinds, hostile.filter(bool))
def test_a_click_on_a_tag_opens_the_search(kind: Kind, service: str) -> None:
    """The link of each tag, filled with its value, is the address that `cxtrace link` prints."""
    (found,) = (
        each for each in patterns(service) if each["key"] == ATTRIBUTE[kind] and "value" not in each
    )
    url = filled(found["url"], {ATTRIBUTE[kind]: "a.name"}, is_url=True)

    assert asked(url) == asked(urls.jaeger("", search_for(kind, "a.name"), service))
    assert found["type"] == ("logs" if kind == "promise" else "tags")
    assert "#{" not in filled(found["text"], {ATTRIBUTE[kind]: "a.name"}, is_url=False)


def test_links_follow_jaeger_under_a_path() -> None:
    """No search begins at the root of the host, where Jaeger's page need not be."""
    page = "https://shop.example/jaeger/"
    found = [urljoin(page, each["url"]) for each in patterns("shop")]

    assert all(each.startswith((f"{page}search?", "mailto:")) for each in found)


def test_what_leads_on_is_seen_first() -> None:
    """In Jaeger's page the tags that are links stand above all others, but for the outcome."""
    first = jaeger_files.ui_document(SHOP, ["shop"])["topTagPrefixes"]
    linked = {attribute for kind, attribute in ATTRIBUTE.items() if kind != "promise"}

    assert set(first[: len(linked) + 1]) == {*linked, names.TOUCHPOINT_OUTCOME}


def test_each_service_has_its_links() -> None:
    """With several, the text of the link says which one is searched."""
    found = [each for each in patterns("storefront", "payments") if each["key"] == "cx.journey.id"]

    assert [each["text"] for each in found] == [
        "All traces of this journey, in storefront",
        "All traces of this journey, in payments",
    ]


@pytest.mark.parametrize(
    ("contact", "url"),
    [
        ("#team", "search?service=shop&tags=%7B%22cx.owner.function%22%3A%22it%22%7D"),
        ("it@shop.example", "mailto:it@shop.example"),
        ("https://chat.example/it?a=b#c", "https://chat.example/it?a=b#c"),
        ("https://chat.example/#{traceID}", "https://chat.example/#%7BtraceID%7D"),
        ("javascript:alert(1)", "search?"),
        ("http://[", "search?"),
        ("http:", "search?"),
    ],
)
def test_an_owner_leads_to_the_contact(contact: str, url: str) -> None:
    """A page or an address is a link; what is none stands in the text."""
    function = attrs.evolve(SHOP.functions["it"], contact=contact)
    journey_map = attrs.evolve(SHOP, functions={"it": function})
    (found,) = (each for each in patterns("shop", journey_map=journey_map) if "value" in each)

    assert found["url"].startswith(url)
    assert found["value"] == "it"
    assert found["text"] == f"it: {contact}".replace("#{", "# {")


def test_an_owner_without_a_contact_has_the_search_alone() -> None:
    """There is nothing else to lead to."""
    function = attrs.evolve(SHOP.functions["it"], contact=None)
    journey_map = attrs.evolve(SHOP, functions={"it": function})

    assert [each for each in patterns("shop", journey_map=journey_map) if "value" in each] == []


@settings(deadline=None)
@given(st.lists(hostile, min_size=2, max_size=2))
def test_hostile_words_of_a_map_stay_words(words: list[str]) -> None:
    """The name of the map and a contact cannot end a comment, or become a template."""
    contact, name = words
    function = attrs.evolve(SHOP.functions["it"], contact=contact or None)
    found = jaeger_files.files(attrs.evolve(SHOP, name=name, functions={"it": function}), ["s"])

    assert yaml.safe_load(found[jaeger_files.CONFIG]) == jaeger_files.counting_document()
    for each in json.loads(found[jaeger_files.UI])["linkPatterns"]:
        if "value" in each:
            assert re.findall(r"#\{[^{}]*\}", each["text"] + each["url"]) == []


def test_the_collector_counts_in_place_of_jaeger(tmp_path: Path) -> None:
    """What the Collector counts is read, and nothing is counted again."""
    arguments = ["jaeger", str(EXAMPLE), "--service", "shop", "-o"]
    for counter in jaeger_files.COUNTERS:
        assert main([*arguments, str(tmp_path / counter), "--counted-by", counter]) == 0
    jaeger, collector = (
        yaml.safe_load((tmp_path / counter / jaeger_files.CONFIG).read_text(encoding="utf-8"))
        for counter in jaeger_files.COUNTERS
    )

    # Jaeger's page shows them as milliseconds whatever the unit is.
    units = {
        each["extensions"]["jaeger_storage"]["metric_backends"]["figures"]["prometheus"][
            "latency_unit"
        ]
        for each in (jaeger, collector)
    }
    assert units == {span_metrics(SHOP)["histogram"]["unit"]} == {"ms"}
    assert list(jaeger["connectors"]) == ["spanmetrics"]
    assert "connectors" not in collector
    assert list(collector["service"]["pipelines"]) == ["traces"]
    assert "spanmetrics" not in json.dumps(collector)


def test_a_change_of_a_contact_changes_one_line() -> None:
    """The output can be compared: nothing moves but what changed."""
    function = attrs.evolve(SHOP.functions["sales"], contact="#new")
    changed = attrs.evolve(SHOP, functions={**SHOP.functions, "sales": function})
    before, after = (
        "".join(jaeger_files.files(each, ["shop"]).values()).splitlines()
        for each in (SHOP, changed)
    )

    differing = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.strip() for line in differing] == ['"text": "sales: #new"']
