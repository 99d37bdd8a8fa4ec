"""HTML that is escaped by construction: a text becomes markup only by being made a tag."""

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias
from urllib.parse import urlsplit


class Html(str):
    """Text that is HTML already. Nothing but this module makes it out of a text of others."""

    __slots__ = ()


Part: TypeAlias = "str | Iterable[Part] | None"
"""What may stand in a tag: a text, which is escaped, HTML, which is not, or several of them."""

EMPTY: Final = Html()
_VOID: Final = frozenset({"meta", "link", "input", "br", "hr"})


def tag(_name: str, /, *parts: Part, **attributes: object) -> Html:
    """An element.

    Args:
        _name: Of the element; not from outside.
        parts: What stands in it.
        attributes: Their names with ``_`` for ``-``, and one at the end where Python needs it.
            None and False leave an attribute out, and True gives it no value.
    """
    begin = f"<{_name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(begin if _name in _VOID else f"{begin}{join(parts)}</{_name}>")


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def join(parts: Part) -> Html:
    """Several parts, one after the other."""
    if parts is None:
        return EMPTY
    if isinstance(parts, Html):
        return parts
    if isinstance(parts, str):
        return Html(escape(_visible(parts)))
    return Html("".join(join(part) for part in parts))


def _visible(text: str) -> str:
    """A text without characters that HTML forbids, or that turn the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def breakable(name: str) -> Html:
    """A name that a line may break after a dot or an underscore of it."""
    broken = escape(_visible(name)).replace(".", ".<wbr>").replace("_", "_<wbr>")
    return Html(broken)


def cells(kind: str, values: Iterable[Part], **attributes: object) -> Html:
    """Cells of a row of a table, alike."""
    return join(tag(kind, value, **attributes) for value in values)


def table(
    caption: Part, head: Iterable[Part], rows: Iterable[tuple[Part, Iterable[Part]]], **more: object
) -> Html:
    """A table with a heading for each row and column, in a frame that scrolls.

    Args:
        caption: What it shows, for those who do not see what stands above it.
        head: Headings of the columns.
        rows: The heading of each and its cells, which are ``td`` elements or become one.
        more: Attributes of the table.
    """
    body = [
        tag("tr", tag("th", _heading(name), scope="row"), [_cell(cell) for cell in each])
        for name, each in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", cells("th", head, scope="col"))),
            tag("tbody", body),
            **more,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex=0,
    )


def _heading(part: Part) -> Html:
    if part is None or isinstance(part, Html):
        return join(part)
    return breakable(part) if isinstance(part, str) else Html("".join(map(_heading, part)))


def _cell(part: Part) -> Html:
    is_cell = isinstance(part, Html) and part.startswith("<td")
    return join(part) if is_cell else tag("td", part)


def link(url: str, *parts: Part) -> Html:
    """A link, if the address is one of the web or of this page; else the text alone."""
    if not url.startswith("#") and urlsplit(url).scheme not in ("http", "https"):
        return join(parts)
    return tag("a", *parts, href=url)
