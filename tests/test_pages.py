"""HTML that is escaped by construction."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from cxtrace.platform.pages.frame import Section, page
from cxtrace.platform.pages.markup import Html, breakable, join, link, table, tag


class Reader(HTMLParser):
    """Reads a page: its elements with the names of their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.values: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        if tag != "wbr":
            self.elements.append((tag, *(name for name, _ in attrs)))
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text += data


def read(text: str) -> Reader:
    """What a page holds."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def elements(text: str) -> list[tuple[str, ...]]:
    """The elements of a page, with the names of their attributes."""
    return read(text).elements


@given(st.text(), st.text())
def test_a_text_comes_back_as_it_was(inside: str, value: str) -> None:
    """Whatever stands in a tag or an attribute is text, up to what HTML forbids."""
    made = read(tag("p", inside, title=value))

    assert made.elements == [("p", "title")]
    visible = [c if c.isprintable() or c in "\n\t" else "\ufffd" for c in inside]
    assert made.text == "".join(visible)


def test_tags_are_written_plainly() -> None:
    """Attributes that are False or None are left out, and one that is True has no value."""
    made = tag("input", type="search", hidden=True, disabled=False, title=None, data_k=1)

    assert made == '<input type="search" hidden data-k="1">'
    assert tag("b", None, ["a", ["<"]], class_="x") == '<b class="x">a&lt;</b>'
    assert join(Html("<i>")) == "<i>"


def test_names_break_after_dots() -> None:
    """A long name may go on in the next line, and stays escaped."""
    assert breakable("a.b_<c>") == "a.<wbr>b_<wbr>&lt;c&gt;"


def test_links_lead_to_the_web_alone() -> None:
    """An address that is a script is no link."""
    assert link("https://x/?a=1&b", "x") == '<a href="https://x/?a=1&amp;b">x</a>'
    assert link("#t1", "x") == '<a href="#t1">x</a>'
    assert link("javascript:alert(1)", "<x>") == "&lt;x&gt;"


def test_a_name_before_a_row_breaks_at_its_joints() -> None:
    """On a phone no letter of a long name falls into the next line; what is markup stays so."""
    rows = [("a_name.x", ["1"]), (["b_c", tag("small", "d_e")], ["2"]), (None, ["3"])]
    found = table("t", ["h_h"], rows)

    heads = ("a_<wbr>name.<wbr>x", "b_<wbr>c<small>d_e</small>", "")
    assert [f'<th scope="row">{each}</th>' in found for each in heads] == [True] * len(heads)


def test_a_table_names_rows_and_columns() -> None:
    """Each heading says what it heads; a cell may bring its own look."""
    made = table("What", ["A", "B"], [("r", ["1", tag("td", "2", class_="x")])])

    assert '<th scope="row">r</th><td>1</td><td class="x">2</td>' in made
    assert made.startswith('<div class="scroll" role="region" aria-label="What" tabindex="0">')
    assert '<th scope="col">A</th>' in made


def test_a_page_allows_nothing_from_elsewhere() -> None:
    """Its policy forbids all but its own style, and the one script it was made with."""
    plain = page("<t>", "h", [Section("a", "A", "x"), Section("b", "B", None)], "f")
    clever = page(
        "t", "h", [Section("a", "A", "x"), Section("c", "C", "y", "says")], "f", "filter.js"
    )

    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri" in policy(plain)
    assert "script-src 'sha256-" in policy(clever)
    assert "<title>&lt;t&gt;</title>" in plain
    assert 'id="b"' not in plain
    assert "<nav" not in plain
    assert '<nav aria-label="On this page">' in clever


def policy(text: str) -> str:
    """The content security policy of a page."""
    return next(value for value in read(text).values if value and value.startswith("default-src"))
