"""What every page has: a head that forbids the network, a style sheet, landmarks, a foot."""

import base64
import hashlib
from collections.abc import Iterable
from importlib import resources
from typing import Final

from attrs import frozen

from cxtrace.platform.pages.markup import Html, Part, join, tag

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; {script}"
    "base-uri 'none'; form-action 'none'"
)


@frozen
class Section:
    """A part of a page, with a heading and a place in its contents."""

    id: str
    title: str
    body: Part
    says: Part = None
    """One sentence on what there is to see."""


def page(
    title: str, head: Part, sections: Iterable[Section], foot: Part, script: str | None = None
) -> str:
    """A whole page.

    Args:
        title: Of the window.
        head: Begins with the heading of the page.
        sections: What it shows; those without a body are left out.
        foot: Where all of it comes from.
        script: Name of a file of this package that makes more of the page.
    """
    shown = [section for section in sections if section.body]
    code = "" if script is None else _file(script)
    document = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content=_policy(code)),
            tag("meta", name="referrer", content="no-referrer"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("link", rel="icon", href="data:,"),
            tag("style", Html(_file("style.css"))),
        ),
        tag(
            "body",
            tag("a", "Skip to the content", href="#content", class_="skip"),
            tag("header", head),
            _contents(shown),
            tag("main", [_section(each) for each in shown], id="content", tabindex=-1),
            tag("footer", foot),
            tag("script", Html(code)) if code else None,
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{document}\n"


def _policy(code: str) -> str:
    if not code:
        return _POLICY.format(script="")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return _POLICY.format(script=f"script-src 'sha256-{digest}'; ")


def _file(name: str) -> str:
    return resources.files("cxtrace.platform.pages").joinpath(name).read_text("utf-8").strip()


def _contents(sections: list[Section]) -> Html:
    links = [tag("li", tag("a", each.title, href=f"#{each.id}")) for each in sections]
    return tag("nav", tag("ul", links), aria_label="On this page") if len(links) > 1 else join(None)


def _section(section: Section) -> Html:
    says = tag("p", section.says, class_="says") if section.says else None
    heading = tag("h2", section.title, id=f"{section.id}-title")
    return tag(
        "section",
        heading,
        says,
        section.body,
        id=section.id,
        aria_labelledby=f"{section.id}-title",
    )
