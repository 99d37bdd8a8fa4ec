"""What words in paths and names let us guess."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Final, TypeAlias

import attrs

from cxtrace._map.lint import SYSTEM_WORDS

_TABLE: TypeAlias = Mapping[str, tuple[str, ...]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


STAGES: Final[_TABLE] = {
    "former_customer": _words(
        "unsubscribe deactivate terminate close_account delete_account winback farewell"
    ),
    "service": _words(
        "help faq support contact ticket complaint complain claim dispute track tracking shipment"
        " return refund exchange cancel cancellation repair warranty"
    ),
    "loyalty": _words(
        "review rating rate feedback survey vote wishlist favourite favorite like follow share"
        " referral refer invite loyalty reward point newsletter subscribe"
    ),
    "purchase": _words(
        "basket cart bag voucher coupon checkout shipping delivery address preview payment pay"
        " purchase buy booking book reservation reserve order place confirmation success thank"
    ),
    "onboarding": _words(
        "register registration signup sign_up join onboarding welcome activate activation confirm"
        " verify verification login signin sign_in"
    ),
    "usage": _words(
        "account profile user me password logout setting preference dashboard notification"
        " message invoice download upload"
    ),
    "consideration": _words(
        "category categories catalogue catalog product products item offer plan pricing price"
        " compare quote stock availability detail range"
    ),
    "awareness": _words(
        "home index landing about blog post article news story campaign promotion search find"
        " suggest autocomplete"
    ),
}
"""Words of each stage, roughly in the order of a customer's steps; the stages by how much their
words tell.
"""

PHASES: Final[Mapping[str, str]] = {
    "awareness": "pre_customer",
    "consideration": "pre_customer",
    "purchase": "customer",
    "onboarding": "customer",
    "usage": "customer",
    "service": "customer",
    "loyalty": "customer",
    "former_customer": "post_customer",
}
"""Every stage, in the order of a map."""
USUAL_STAGE: Final = "usage"
_ACCESS: Final = frozenset(
    _words(
        "login logout log_in log_out signin signout sign_in sign_out password passwd token tokens"
        " csrf captcha otp 2fa mfa setlang language"
    )
)
"""Words of steps that no customer comes for."""
_ACCESS_LAST: Final = frozenset(_words("auth authenticate oauth session sessions refresh"))
"""Words that say so at the end of a path; before another, they are only where it is."""
_OWN: Final = frozenset(_words("account accounts profile me my"))

OWNERS: Final[_TABLE] = {
    "finance": _words("payment pay invoice billing refund price pricing bankcard iban tax"),
    "service": _words(
        "help faq support contact ticket complaint complain claim dispute return exchange repair"
        " warranty cancel cancellation"
    ),
    "sales": _words(
        "basket cart bag checkout order quote offer plan voucher coupon buy purchase booking book"
        " reservation reserve delivery shipping shipment track tracking"
    ),
    "marketing": _words(
        "home landing about blog post article news story campaign promotion search newsletter"
        " subscribe unsubscribe referral refer invite loyalty reward point review rating survey"
        " wishlist category categories catalogue catalog range"
    ),
}
"""Words of each function, those that tell most first."""
USUAL_OWNER: Final = "product"

VERBS: Final = frozenset(
    _words(
        "accept activate add apply approve book browse buy call cancel change choose claim close"
        " compare complain confirm connect deactivate decline deliver donate download enrol enroll"
        " exchange export filter follow forget forgot invite join leave like login logout mark"
        " move notify open order pay pause place play preview print rate redeem refund register"
        " reject remove renew reorder repay report request resend reserve reset restore resume"
        " return save schedule search select send share ship signin signout signup start stop"
        " submit subscribe suggest switch track transfer unfollow unlike unsubscribe upgrade"
        " upload use validate verify vote withdraw write"
    )
)
"""What customers do."""
ALSO_NOUNS: Final = frozenset(_words("book claim like order play print report request return"))
"""Verbs that are things as well where code uses them: an order-list orders nothing."""
PLAIN_VERBS: Final = frozenset(
    _words(
        "create delete detail edit fetch find get handle index list load post process put"
        " read retrieve run show update view"
    )
)
"""What code calls what the method says already."""
DEEDS: Final = VERBS | frozenset(_words("create delete edit import process update"))
"""Words at the end of a path that need no further verb."""
OF_SOMETHING: Final = frozenset(_words("add change create delete edit import remove update"))
"""Those that say little without a thing."""

NOISE: Final = SYSTEM_WORDS | frozenset(
    _words(
        "a an and app async at by celery do for from in me of on or page part partial path"
        " root rest route router routes shared src task tasks the to url urls v view views with"
    )
)
"""Words of function names that tell nothing."""

_SINGLE: Final = frozenset(_words("details news preferences settings stats terms thanks"))

_HEALTH: Final = frozenset(
    _words("health healthz healthcheck livez readyz liveness readiness heartbeat ping")
)
_OPERATIONS: Final = frozenset(_words("live ready alive check status startup db database cache"))
_TECHNICAL: Final = (
    (r"/(openapi|swagger|schema)(\.(json|ya?ml))?", "documentation of the API"),
    (r"/(swagger(-ui)?|docs|redoc|apidocs)(/.*)?", "documentation of the API"),
    (r"/(static|staticfiles|_next)(/.*)?", "static files"),
    (r"/(-/)?metrics", "metrics, for monitoring"),
    (r"/admin(/.*)?", "pages for staff"),
    (r"/(\.well-known/.*|favicon\.ico|robots\.txt|sitemap[\w-]*\.xml|ads\.txt)", "for machines"),
    (r"/(.*\.webmanifest|manifest\.json|service-?worker\.js|sw\.js)", "for browsers"),
    (r"/(__debug__|_debug_toolbar)(/.*)?", "tools of developers"),
)
_UPKEEP: Final = frozenset(
    _words("cleanup clean_up sync nightly purge vacuum refresh_cache healthcheck health_check")
)
_OTHERS: Final = frozenset({"webhook", "webhooks", "callback", "callbacks", "hook", "hooks"})


@attrs.frozen
class Guess:
    """A value, and the word that it was guessed from; empty where no word said anything."""

    value: str
    word: str = ""
    rank: int = 0
    """Place of the word among those of the value."""


def split(text: str) -> list[str]:
    """The words in a path part, a name in snake_case or a NameOfAClass, in plain lower case."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", plain)
    return re.findall(r"[a-z0-9]+", plain.lower())


def is_inside(word: str) -> bool:
    """Whether a word is one of the inside of a company, which no customer would use."""
    return word in SYSTEM_WORDS or word.removesuffix("s") in SYSTEM_WORDS


def is_plural(word: str) -> bool:
    """Whether a word looks like several things."""
    single = word.endswith(("ss", "us", "is", "ics")) or word in _SINGLE
    return len(word) > 3 and word.endswith("s") and not single


def stage(*sources: Iterable[str]) -> Guess:
    """The stage that words speak of; those of an earlier source tell more."""
    words = [list(source) for source in sources]
    guess = _look_up(STAGES, words) or Guess(USUAL_STAGE)
    own = next((word for word in chain(*words[:1]) if word in _OWN), None)
    # What is bought already is looked at again there.
    return Guess("usage", own) if own and guess.value == "purchase" else guess


def owner(*sources: Iterable[str]) -> Guess:
    """The function of the business that words speak of; those of an earlier source tell more."""
    return _look_up(OWNERS, sources) or Guess(USUAL_OWNER)


def _look_up(table: _TABLE, sources: Iterable[Iterable[str]]) -> Guess | None:
    for words in sources:
        given = list(words)
        single = (word.removesuffix("s") for word in given)
        known = _known(given) | set(single)
        for value, telling in table.items():
            ranks = [rank for rank, word in enumerate(telling) if word in known]
            if ranks:
                return Guess(value, telling[ranks[-1]], ranks[-1])
    return None


def _known(words: Sequence[str]) -> set[str]:
    """The words, alone and two by two."""
    return {*words, *map("_".join, pairwise(words))}


def technical(path: str) -> str:
    """Why no customer meets a path, if none does; else empty."""
    plain = re.sub(r"^(/(api|v\d+))+(?=/)", "", path.rstrip("/").lower())
    for form, reason in _TECHNICAL:
        if re.fullmatch(form, plain):
            return reason
    parts = [re.sub(r"[^a-z]", "", part) for part in plain.split("/") if part]
    known = all(part in _HEALTH or part in _OPERATIONS for part in parts)
    return "checks of health" if known and any(part in _HEALTH for part in parts) else ""


def technical_task(name: str) -> str:
    """Why no customer meets a task, if none does; else empty."""
    return "" if _UPKEEP.isdisjoint(_known(split(name))) else "tasks of upkeep"


def is_access(name: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the words of a step speak of a login, a logout or the like, which is no goal."""
    told = _known(name) | _known(path)
    return not (_ACCESS.isdisjoint(told) and _ACCESS_LAST.isdisjoint(path[-1:]))


def is_of_a_system(words: Iterable[str]) -> bool:
    """Whether the words speak of another system that calls, and not of a customer."""
    return not _OTHERS.isdisjoint(words)
