"""A browser for scripts: keeps cookies, follows redirects, and submits the forms of its page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

import httpx


class Form(NamedTuple):
    """A form of a page: where it goes, how, and what it sends as it stands."""

    action: str
    method: str
    fields: dict[str, str]


class Browser:
    """One person's browser; `visitor` is the cookie that the shop's tag manager has set."""

    def __init__(self, url: str, visitor: str, **headers: str) -> None:
        self.visitor = visitor
        self.client = httpx.Client(
            base_url=url,
            cookies={"visitor": visitor},
            headers=headers,
            follow_redirects=True,
            timeout=60,
            trust_env=False,
        )
        self.page = httpx.Response(200)

    def go(self, path: str, **query: str) -> httpx.Response:
        """Open a page; an answer of 5xx is an AssertionError."""
        return self._show(self.client.get(path, params=query))

    def submit(self, where: str, /, **fields: str | list[str]) -> httpx.Response:
        """Submit the form of this page that goes to `where`, with its own fields and these.

        When no form goes there, it is an AssertionError.
        """
        here = self.page.url
        forms = [form for form in self.forms() if here.join(form.action).path == where]
        known = [form for form in forms if fields.keys() <= form.fields.keys()]
        assert known, f"no form of {here} has {where} and {[*fields]}: {self.forms()}"
        headers = {"Referer": str(here)}
        data = {**known[0].fields, **fields}
        return self._show(self.client.post(where, data=data, headers=headers))

    def forms(self) -> list[Form]:
        """The forms of the page."""
        parser = _Forms(str(self.page.url.raw_path, "ascii"))
        parser.feed(self.page.text)
        return parser.forms

    @property
    def path(self) -> str:
        """Where the last redirect has led."""
        return self.page.url.path

    def _show(self, page: httpx.Response) -> httpx.Response:
        assert page.status_code < 500, f"{page.url}: {page.status_code}\n{page.text[:2000]}"
        self.page = page
        return page


class _Forms(HTMLParser):
    def __init__(self, here: str) -> None:
        super().__init__()
        self.here = here
        self.forms: list[Form] = []
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "form":
            where = given.get("action") or self.here
            self.forms.append(Form(where, given.get("method", "get").lower(), {}))
        if not self.forms or ("name" not in given and tag != "option"):
            return
        fields = self.forms[-1].fields
        if tag == "input" and given.get("type") in ("radio", "checkbox"):
            fields.setdefault(given["name"], "")
            if "checked" in given:
                fields[given["name"]] = given.get("value", "on")
        elif tag in ("input", "button", "textarea"):
            fields.setdefault(given["name"], given.get("value", ""))
        elif tag == "select":
            self._select = given["name"]
            fields.setdefault(self._select, "")
        elif tag == "option" and self._select and ("selected" in given or not fields[self._select]):
            fields[self._select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
