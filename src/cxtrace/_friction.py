"""Find friction in what customers do: the rules of the map, watched at one touchpoint each.

A rule fires when its count is reached, and then begins anew: six quick repeats under a count of
three fire twice. Windows are half-open: an occurrence at ``at`` counts with those in
``(at - within, at]``, so one that is exactly ``within`` seconds old is out. Times are seconds of
any one clock; where it goes backwards, nobody knows how long ago the rest was, and it is forgotten.
Who has left the window when another comes is let go, and stays so wherever the clock goes.

What is remembered of customers stays in this process, in memory that is bounded, and is shown by
no text of ours.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from cxtrace import _guard

if TYPE_CHECKING:
    from cxtrace._model import FrictionRule

MAX_REMEMBERED: Final = 10_000
"""Customers that one rule remembers at one touchpoint; who is longest away is forgotten first."""

MAX_VISITS: Final = 1_000
"""Visits of nobody that are remembered at one touchpoint, until they leave."""

MAX_INTERACTIONS: Final = 100
"""Different interactions that are remembered of a visit of nobody."""

Found: TypeAlias = "tuple[FrictionRule, ...]"

# One for all, for it is held so briefly. Reentrant, for a generator that is collected while we
# count may leave its touchpoint.
_lock = threading.RLock()


class Watch:
    """The rules of one touchpoint, and what they remember. Threads may share it.

    ``who`` is the journey's id, or else the customer's pseudonym: text that is the same at the next
    visit. Where there is neither, ``who`` may be the visit itself, or any object that stands for
    it, so that what is repeated within the visit is found; it is kept until it leaves under the
    same ``who``, or others push it out. With None nothing is remembered.

    Attributes:
        backtrack: The rule about going back, if there is one. The ``Trail`` tells when it fires.
    """

    __slots__ = (
        "_actions", "_after", "_contacts", "_entries", "_errors", "_judges", "_most_visits",
        "_rejections", "_slow", "_visits", "backtrack",
    )  # fmt: skip

    def __init__(self, rules: Iterable["FrictionRule"], limit: int = MAX_REMEMBERED) -> None:
        named = {rule.name: rule for rule in rules}
        self.backtrack = named.get("backtrack")
        self._most_visits = min(limit, MAX_VISITS)
        self._entries = _tally_of(named.get("repeat_action"), limit)
        self._actions = _tally_of(named.get("repeat_action"), limit)
        self._contacts = _tally_of(named.get("repeat_contact"), limit)
        self._errors = _tally_of(named.get("error_streak"), limit)
        self._rejections = _tally_of(named.get("validation_loop"), limit)
        self._visits: OrderedDict[Hashable, _Tally] = OrderedDict()
        self._judges = any((self._actions, self._errors, self._rejections))
        slow = named.get("slow")
        self._slow: Found = () if slow is None else (slow,)
        self._after = math.inf if slow is None or slow.after is None else slow.after

    def enter(self, who: Hashable, customer: str | None, at: float) -> Found:
        """The rules that fire because the touchpoint is entered.

        ``repeat_action``: entered ``count`` times by the same ``who``. ``repeat_contact``: entered
        ``count`` times by the same customer, over all journeys.

        Args:
            who: See above.
            customer: The pseudonym; where it is None, ``who`` stands for the customer.
            at: Now, in seconds.
        """
        found: Found = ()
        if self._entries is not None:
            found = self._entries.found(_lasting(who), at)
        if self._contacts is not None:
            found += self._contacts.found(_lasting(who) if customer is None else customer, at)
        return found

    def act(self, who: Hashable, interaction: str, at: float) -> Found:
        """The rules that fire because an interaction is done in the touchpoint.

        ``repeat_action``: the same interaction ``count`` times by the same ``who``.
        """
        if self._actions is None or who is None:
            return ()
        if isinstance(who, str):
            return self._actions.found((who, interaction), at)
        return self._visit(who, self._actions.rule).found(interaction, at)

    def leave(
        self, who: Hashable, at: float, duration: float, outcome: str, rejected: int
    ) -> Found:
        """The rules that fire because a visit ends.

        ``slow``: longer than ``after``. ``error_streak``: ``count`` visits ``failed`` and none was
        ``completed`` in between. ``validation_loop``: ``count`` rejections, each counted at the end
        of its visit, and no visit was completed without one in between.

        Args:
            who: The same as on entering.
            at: Now, in seconds.
            duration: Of the visit, in seconds.
            outcome: Of the visit.
            rejected: How many times ``validation_rejected`` was declared in the visit.
        """
        found = self._slow if duration > self._after else ()
        return found + self._judge(who, at, outcome, rejected) if self._judges else found

    def _judge(self, who: Hashable, at: float, outcome: str, rejected: int) -> Found:
        if self._visits:
            with _lock:
                self._visits.pop(who, None)
        found: Found = ()
        lasting, completed = _lasting(who), outcome == "completed"
        if self._errors is not None:
            if outcome == "failed":
                found = self._errors.found(lasting, at)
            elif completed:
                self._errors.forget(lasting)
        if self._rejections is not None:
            if rejected > 0:
                found += self._rejections.found(lasting, at, rejected)
            elif completed:
                self._rejections.forget(lasting)
        return found

    def _visit(self, visit: Hashable, rule: "FrictionRule") -> "_Tally":
        with _lock:
            tally = self._visits.pop(visit, None)
            if tally is None:
                tally = _Tally(rule, MAX_INTERACTIONS)
            self._visits[visit] = tally
            if len(self._visits) > self._most_visits:
                self._visits.popitem(last=False)
                _guard.count("friction.forgotten")
        return tally


class Trail:
    """How far a customer has come on the route of one journey."""

    __slots__ = ("_at", "_turned")

    def __init__(self) -> None:
        self._at = -1
        self._turned = False

    def reach(self, step: int) -> bool:
        """Whether the customer turns back by coming to this step.

        Going back by several steps one after the other is one going back, until the customer goes
        forward again.

        Args:
            step: Place of the touchpoint on the route, or of its stage; lower is earlier.
        """
        if step >= self._at:
            if step > self._at:
                self._at, self._turned = step, False
            return False
        with _lock:
            turns = step < self._at and not self._turned
            self._at, self._turned = step, True
        return turns


class _Tally:
    """Tells when the count of a rule is reached, for each of many customers."""

    __slots__ = ("_count", "_limit", "_seen", "_within", "rule")

    def __init__(self, rule: "FrictionRule", limit: int) -> None:
        self.rule = rule
        self._count = rule.count or 1
        self._within = math.inf if rule.within is None else rule.within
        self._limit = limit
        self._seen: OrderedDict[Hashable, list[float]] = OrderedDict()

    def found(self, who: Hashable, at: float, times: int = 1) -> Found:
        """The rule, as often as it fires because it happened now, ``times`` at once."""
        return (self.rule,) * self._add(who, at, times)

    def forget(self, who: Hashable) -> None:
        """Begin anew for one customer."""
        if who in self._seen:
            with _lock:
                self._seen.pop(who, None)

    def _add(self, who: Hashable, at: float, times: int) -> int:
        if who is None:
            return times // self._count
        with _lock:
            # Taken out while we work on it, for what interrupts us may come for the same.
            stamps = self._seen.pop(who, None)
            if stamps is None:
                stamps = []
                self._make_room(at)
            elif not stamps[-1] <= at:
                stamps.clear()
            while stamps and not at - stamps[0] < self._within:
                del stamps[0]
            fires, left = divmod(len(stamps) + times, self._count)
            if left:
                self._seen[who] = [at] * left if fires else [*stamps, *[at] * times]
        return fires

    def _make_room(self, at: float) -> None:
        """Let go of those who have left the window, and of who is longest away if all is full."""
        seen = self._seen
        while seen:
            who, stamps = seen.popitem(last=False)
            if at - stamps[-1] >= self._within:
                continue
            if len(seen) + 1 < self._limit:
                seen[who] = stamps
                seen.move_to_end(who, last=False)
            else:
                _guard.count("friction.forgotten")
            return


def watch_of(rules: Iterable["FrictionRule"], limit: int = MAX_REMEMBERED) -> Watch | None:
    """What watches a touchpoint with these rules, or None if there are none.

    Of two rules of one name the later counts. A ``slow`` rule without ``after`` never fires, and
    neither does a counting rule without ``count``; without ``within`` it counts for ever.

    Args:
        rules: Those that take effect at the touchpoint.
        limit: How many customers each of them remembers.
    """
    rules = tuple(rules)
    return Watch(rules, limit) if rules else None


def _tally_of(rule: "FrictionRule | None", limit: int) -> _Tally | None:
    return _Tally(rule, limit) if rule is not None and rule.count else None


def _lasting(who: Hashable) -> str | None:
    """Who it is, if that is the same at the next visit."""
    return who if isinstance(who, str) else None


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


_guard.in_child(_after_fork)
