"""Friction found by rules: each fires at its threshold, and quiet customers are left in peace."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _friction, _guard
from cxtrace._friction import Trail, Watch, watch_of
from cxtrace._model import FRICTION_RULES, FrictionRule

REPEAT = FrictionRule("repeat_action", count=3, within=1.0)
STREAK = FrictionRule("error_streak", count=3, within=60.0)
LOOP = FrictionRule("validation_loop", count=3, within=60.0)
SLOW = FrictionRule("slow", after=2.0)
BACK = FrictionRule("backtrack")
CONTACT = FrictionRule("repeat_contact", count=3, within=3_600.0)
EVERY = (REPEAT, STREAK, LOOP, SLOW, BACK, CONTACT)

pytestmark = pytest.mark.usefixtures("forgetful")


def watch(*rules: FrictionRule, limit: int = 10_000) -> Watch:
    """What watches a touchpoint with these rules."""
    made = watch_of(rules, limit)
    assert made is not None
    return made


def left(
    of: Watch,
    who: object,
    at: float,
    outcome: str = "completed",
    *,
    duration: float = 0.1,
    rejected: int = 0,
) -> list[str]:
    """The names of the rules that fire at the end of a visit."""
    return [rule.name for rule in of.leave(who, at, duration, outcome, rejected)]


def entered(of: Watch, who: object, *times: float, customer: str | None = None) -> list[int]:
    """How many rules fire on entering at each of these times."""
    return [len(of.enter(who, customer, at)) for at in times]


def test_without_rules_there_is_nothing_to_do() -> None:
    """A touchpoint without a rule has no watch at all."""
    assert watch_of([]) is None


@pytest.mark.parametrize("name", [name for name in FRICTION_RULES if name != "backtrack"])
def test_a_rule_is_found_under_its_own_name(name: str) -> None:
    """What fires is the rule that the map gave, with its type, severity and detector."""
    rule = FrictionRule(name, count=1, within=1.0, after=0.0, severity="high")
    one = watch(rule)

    found = one.enter("j", "c", 0.0) + one.leave("j", 1.0, 0.5, "failed", 1)

    assert found == (rule,)
    assert found[0].detector == f"{name}@1"


# repeat_action


def test_a_repeat_fires_at_its_count() -> None:
    """The third entry within the window fires; two do not."""
    assert entered(watch(REPEAT), "j", 0.0, 0.1, 0.2) == [0, 0, 1]


@pytest.mark.parametrize(("last", "fires"), [(10.999, 1), (11.0, 0), (11.001, 0)])
def test_the_window_of_a_repeat_is_half_open(last: float, fires: int) -> None:
    """What is exactly as old as the window has left it."""
    assert entered(watch(REPEAT), "j", 10.0, 10.5, last) == [0, 0, fires]


def test_the_window_moves_on() -> None:
    """An entry that was too early for one group counts in none; the later ones make their own."""
    assert entered(watch(REPEAT), "j", 0.0, 0.9, 1.5, 1.8) == [0, 0, 0, 1]


def test_a_storm_fires_once_for_each_count() -> None:
    """Ten quick repeats under a count of three fire three times."""
    assert sum(entered(watch(REPEAT), "j", *[0.01 * n for n in range(10)])) == 3


def test_customers_do_not_mix() -> None:
    """Two customers who take turns are counted apart."""
    one = watch(REPEAT)

    found = [entered(one, who, at) for at in (0.0, 0.1, 0.2) for who in ("a", "b")]

    assert found == [[0], [0], [0], [0], [1], [1]]


@pytest.mark.parametrize("who", ["j", object()], ids=["an id", "a visit"])
def test_a_repeated_interaction_fires(who: object) -> None:
    """The same interaction three times in the window fires; others do not count with it."""
    one = watch(REPEAT)

    found = [
        len(one.act(who, name, at))
        for name, at in [("confirm", 0.0), ("other", 0.1), ("confirm", 0.2), ("confirm", 0.3)]
    ]

    assert found == [0, 0, 0, 1]


def test_an_interaction_is_no_entry() -> None:
    """Entries and interactions are counted apart."""
    one = watch(REPEAT)

    assert entered(one, "j", 0.0, 0.1) == [0, 0]
    assert one.act("j", "confirm", 0.2) == ()


def test_an_interaction_of_two_visits_by_one_customer() -> None:
    """A customer who is known is joined over visits; a visit of nobody ends with itself."""
    one, visit = watch(REPEAT), object()
    fired = []
    for who in ("j", visit):
        for at in (0.0, 0.1):
            one.act(who, "confirm", at)
        left(one, who, 0.2)
        fired.append(len(one.act(who, "confirm", 0.3)))

    assert fired == [1, 0]


def test_nobody_is_not_joined() -> None:
    """Visits of which nobody knows whose they are do not add up."""
    one = watch(*EVERY)

    for who in (None, None, None, object(), object(), object()):
        assert entered(one, who, 0.0) == [0]
        assert one.act(who, "confirm", 0.0) == ()
        assert left(one, who, 0.1, "failed", rejected=1) == []


# error_streak


def test_a_streak_fires_at_its_count() -> None:
    """The third failure in a row fires; two do not."""
    one = watch(STREAK)

    assert [left(one, "j", at, "failed") for at in (0.0, 1.0, 2.0)] == [[], [], ["error_streak"]]


@pytest.mark.parametrize(("last", "found"), [(59.9, ["error_streak"]), (60.0, []), (60.1, [])])
def test_a_streak_has_a_window(last: float, found: list[str]) -> None:
    """Failures that lie too far apart are no streak."""
    one = watch(STREAK)
    for at in (0.0, 1.0):
        left(one, "j", at, "failed")

    assert left(one, "j", last, "failed") == found


@pytest.mark.parametrize(
    ("between", "found"),
    [("completed", []), ("abandoned", ["error_streak"]), ("deferred", ["error_streak"])],
)
def test_success_ends_a_streak(between: str, found: list[str]) -> None:
    """A visit that was completed ends the streak; one that was given up does not."""
    one = watch(STREAK)
    for at, outcome in enumerate(["failed", "failed", between]):
        left(one, "j", at, outcome)

    assert left(one, "j", 3.0, "failed") == found


def test_the_success_of_another_ends_nothing() -> None:
    """Only the customer's own success counts."""
    one = watch(STREAK)
    for who, outcome in [("a", "failed"), ("a", "failed"), ("b", "completed"), (None, "completed")]:
        left(one, who, 0.0, outcome)

    assert left(one, "a", 1.0, "failed") == ["error_streak"]


# validation_loop


def test_a_validation_loop_fires_at_its_count() -> None:
    """The third rejection fires, whatever the outcome of the visits; two do not."""
    one = watch(LOOP)

    found = [left(one, "j", at, rejected=1) for at in (0.0, 1.0, 2.0)]

    assert found == [[], [], ["validation_loop"]]


@pytest.mark.parametrize(("last", "found"), [(59.9, ["validation_loop"]), (60.0, [])])
def test_a_validation_loop_has_a_window(last: float, found: list[str]) -> None:
    """Rejections that lie too far apart are no loop."""
    one = watch(LOOP)
    left(one, "j", 0.0, rejected=2)

    assert left(one, "j", last, rejected=1) == found


@pytest.mark.parametrize(
    ("between", "found"), [("completed", []), ("abandoned", ["validation_loop"])]
)
def test_success_without_rejection_ends_the_loop(between: str, found: list[str]) -> None:
    """Who got through begins anew; who gave up in between does not."""
    one = watch(LOOP)
    left(one, "j", 0.0, rejected=2)
    left(one, "j", 1.0, between)

    assert left(one, "j", 2.0, rejected=1) == found


@pytest.mark.parametrize("who", ["j", None, object()], ids=["an id", "nobody", "a visit"])
@pytest.mark.parametrize(("rejected", "fires"), [(2, 0), (3, 1), (7, 2)])
def test_a_loop_within_one_visit(who: object, rejected: int, fires: int) -> None:
    """Rejections of one visit need nobody's name to be counted."""
    assert len(left(watch(LOOP), who, 0.0, rejected=rejected)) == fires


def test_what_is_left_of_a_storm_of_rejections_counts_on() -> None:
    """Seven rejections under a count of three fire twice, and the seventh begins the next group."""
    one = watch(LOOP)
    left(one, "j", 0.0, rejected=7)

    assert [left(one, "j", at, rejected=1) for at in (1.0, 2.0)] == [[], ["validation_loop"]]


# slow


@pytest.mark.parametrize(
    ("duration", "found"), [(1.999, []), (2.0, []), (2.001, ["slow"]), (float("nan"), [])]
)
def test_slow_is_longer_than_the_limit(duration: float, found: list[str]) -> None:
    """Exactly the limit is not slow yet, for known customers and for nobody."""
    for who in ("j", None, object()):
        assert left(watch(SLOW), who, 5.0, duration=duration) == found


def test_slow_and_broken() -> None:
    """Several rules may fire at the end of one visit."""
    failing = FrictionRule("error_streak", count=1, within=1.0)
    one = watch(failing, SLOW)

    assert left(one, "j", 0.0, "failed", duration=9.0) == ["slow", "error_streak"]


# backtrack


def test_going_back_fires_once() -> None:
    """Back by several steps is one going back; after going forward it is another."""
    trail = Trail()

    turns = [trail.reach(step) for step in (0, 1, 4, 2, 2, 0, 1, 3, 3, 1)]

    assert turns == [False, False, False, True, False, False, False, False, False, True]


@pytest.mark.parametrize("steps", [(0, 1, 2, 3), (2, 2, 2), (0, 5), (3,)])
def test_going_forward_is_silent(steps: tuple[int, ...]) -> None:
    """Who goes forward, stays, or leaves steps out does not go back."""
    trail = Trail()

    turns = [trail.reach(step) for step in steps]

    assert True not in turns


def test_the_rule_about_going_back() -> None:
    """The watch has the rule at hand, if there is one."""
    assert watch(BACK).backtrack is BACK
    assert watch(SLOW).backtrack is None


@given(st.lists(st.integers(0, 4), max_size=20))
def test_going_back_against_the_whole_history(steps: list[int]) -> None:
    """It fires exactly where the customer changes direction from forward to backward."""
    trail = Trail()

    turns = [trail.reach(step) for step in steps]

    moves = [b - a for a, b in zip([-1, *steps], steps, strict=False)]
    expected = []
    for number, move in enumerate(moves):
        before = [earlier for earlier in moves[:number] if earlier != 0]
        expected.append(move < 0 and before[-1] > 0)
    assert turns == expected


# repeat_contact


def test_a_repeated_contact_fires_over_all_journeys() -> None:
    """The third visit of one customer fires, on whichever journey it is."""
    one = watch(CONTACT)

    found = [entered(one, f"j{n}", 10.0 * n, customer="c") for n in range(3)]

    assert found == [[0], [0], [1]]


@pytest.mark.parametrize(("last", "fires"), [(3_599.0, 1), (3_600.0, 0)])
def test_a_repeated_contact_has_a_window(last: float, fires: int) -> None:
    """Visits that lie too far apart are new contacts."""
    assert entered(watch(CONTACT), None, 0.0, 1.0, last, customer="c") == [0, 0, fires]


def test_without_a_customer_the_journey_counts() -> None:
    """Where nobody knows the customer, contacts of one journey are joined."""
    one = watch(CONTACT)

    assert entered(one, "j", 0.0, 1.0, 2.0) == [0, 0, 1]
    assert entered(one, "other", 0.0, 1.0) == [0, 0]


# Clocks, rules that say too little


@pytest.mark.parametrize("times", [(9.0, 9.1, 0.0, 0.1), (0.3, 0.2, 0.1, 0.0)])
def test_a_clock_that_is_set_back_fires_nothing(times: tuple[float, ...]) -> None:
    """How long ago the rest was is not known any more, so the counting begins anew."""
    one = watch(REPEAT)

    assert entered(one, "j", *times) == [0, 0, 0, 0]
    assert entered(one, "k", *times, times[-1] + 0.2, times[-1] + 0.3)[-2:].count(1) == 1


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1e300])
def test_a_time_that_makes_no_sense(at: float) -> None:
    """It neither raises nor fires."""
    one = watch(*EVERY)

    for when in (1.0, at, at, 1.1):
        assert one.enter("j", "c", when) == ()
        assert one.leave("j", when, at, "failed", 1) == (SLOW,) * (at > 2.0)


def test_a_rule_that_says_too_little_never_fires() -> None:
    """Without a count nothing is counted, and without a limit nothing is slow."""
    one = watch(*(FrictionRule(name) for name in FRICTION_RULES))

    for at in (0.0, 0.0, 0.0, 0.0):
        assert entered(one, "j", at, customer="c") == [0]
        assert one.act("j", "confirm", at) == ()
        assert left(one, "j", at, "failed", duration=9e9, rejected=9) == []


def test_without_a_window_everything_counts() -> None:
    """A rule without ``within`` counts for ever."""
    assert entered(watch(FrictionRule("repeat_action", count=2)), "j", 0.0, 9e9) == [0, 1]


def test_of_two_rules_of_one_name_the_later_counts() -> None:
    """A touchpoint's own rule can be put after a common one."""
    later = FrictionRule("slow", after=5.0)

    assert watch(SLOW, later).leave("j", 0.0, 4.0, "completed", 0) == ()
    assert watch(SLOW, later).leave("j", 0.0, 6.0, "completed", 0) == (later,)


# Memory


def test_memory_is_bounded() -> None:
    """Who is longest away is forgotten first, and the report counts it."""
    one = watch(REPEAT, limit=3)
    for who in "abcad":
        one.enter(who, None, 0.0)

    assert len(one._entries._seen) == 3
    assert _guard.counts() == {"friction.forgotten": 1}
    assert entered(one, "a", 0.1) == [1]
    assert entered(one, "b", 0.1, 0.2, 0.3) == [0, 0, 1]


def test_who_has_left_the_window_is_let_go() -> None:
    """Customers who cannot matter any more take no place, and are not missed."""
    one = watch(REPEAT, limit=3)
    for at, who in enumerate("abcdefgh"):
        one.enter(who, None, 2.0 * at)

    assert list(one._entries._seen) == ["h"]
    assert _guard.counts() == {}


def test_visits_of_nobody_are_bounded() -> None:
    """Visits that never leave, and what is done in them, are forgotten in the end."""
    one = watch(REPEAT, limit=3)
    visits = [object() for _ in range(5)]
    for visit in visits:
        one.act(visit, "confirm", 0.0)
    for number in range(200):
        one.act(visits[-1], f"made up {number}", 0.0)

    assert list(one._visits) == visits[2:]
    assert len(one._visits[visits[-1]]._seen) == _friction.MAX_INTERACTIONS
    assert _guard.counts() == {"friction.forgotten": 2 + 201 - _friction.MAX_INTERACTIONS}


def test_a_visit_of_nobody_is_let_go_when_it_ends() -> None:
    """What stands for a visit is not kept alive after it."""
    one, visit = watch(REPEAT), object()
    one.act(visit, "confirm", 0.0)

    left(one, visit, 0.1)

    assert list(one._visits) == []


@pytest.mark.parametrize("calls", range(1, 101, 33))
def test_no_more_is_kept_than_can_count(calls: int) -> None:
    """Of each customer fewer times are kept than the rule counts to."""
    one = watch(*EVERY)
    for n in range(calls):
        one.enter("j", "c", 0.001 * n)
        one.leave("j", 0.001 * n, 9.0, "failed", 5)

    kept = [
        stamps
        for tally in (one._entries, one._contacts, one._errors, one._rejections)
        for stamps in tally._seen.values()
    ]
    assert all(len(stamps) < 3 for stamps in kept)


def test_no_text_shows_who(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a repr nor the log has an id."""
    one = watch(*EVERY, limit=1)
    for who in ("secret-1", "secret-2"):
        one.enter(who, "secret-3", 0.0)
        one.act(who, "confirm", 0.0)
        one.leave(who, 0.0, 9.0, "failed", 9)

    assert "secret" not in repr(one) + repr(one._entries) + repr(Trail()) + caplog.text


# Threads


def in_threads(work) -> None:
    """Run it in eight threads that begin together."""
    errors = []
    start = threading.Barrier(8)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_many_threads_count_for_one_customer() -> None:
    """No entry is lost and none counted twice, whoever enters at the same time."""
    one, fired = watch(REPEAT), []

    in_threads(lambda _: fired.extend(one.enter("j", None, 0.0) for _ in range(600)))

    assert sum(map(len, fired)) == 8 * 600 // 3


def test_many_threads_and_many_customers() -> None:
    """Under any traffic nothing raises and the memory stays bounded."""
    one = watch(*EVERY, limit=5)
    visits = [object() for _ in range(9)]

    def work(number: int) -> None:
        for n in range(400):
            who = [f"j{n % 7}", visits[n % 9], None][(n + number) % 3]
            one.enter(who, f"c{n % 8}", 0.001 * n)
            one.act(who, "confirm", 0.001 * n)
            one.leave(who, 0.001 * n, 0.0, "failed" if n % 2 else "completed", n % 2)

    in_threads(work)

    tallies = (one._entries, one._actions, one._contacts, one._errors, one._rejections)
    assert all(len(tally._seen) <= 5 for tally in tallies)
    assert len(one._visits) <= 5


def test_many_threads_turn_back_once() -> None:
    """One going back fires once, however many requests it is made of."""
    trail, turns = Trail(), []
    trail.reach(9)

    in_threads(lambda _: turns.append(trail.reach(3)))

    assert turns.count(True) == 1


def test_one_who_interrupts() -> None:
    """A touchpoint that is entered while another is being counted, in one thread, does no harm."""
    one = watch(REPEAT, limit=1)

    class Interrupting(str):
        left = 3
        __slots__ = ()

        def __hash__(self) -> int:
            if Interrupting.left:
                Interrupting.left -= 1
                one.enter("j", None, 0.0)
                one.enter("k", None, 0.0)
            return hash(str(self))

    for _ in range(3):
        one.enter(Interrupting("j"), None, 0.0)

    assert Interrupting.left == 0
    assert len(one._entries._seen) <= 1


def test_after_a_fork() -> None:
    """A forked child has a lock of its own, even if the parent held it."""
    before = _friction._lock
    with before:
        _friction._after_fork()

        assert _friction._lock is not before
        assert entered(watch(REPEAT), "j", 0.0, 0.1, 0.2) == [0, 0, 1]


# Against a model that remembers everything


class Historian:
    """Keeps the whole history, and works out from it what a counting rule does at its end."""

    def __init__(self, rule: FrictionRule) -> None:
        self.rule = rule
        self.history: list[tuple[object, float, int]] = []

    def happens(self, who: object, at: float, times: int = 1) -> list[str]:
        """What fires because it happens so many times."""
        self.history.append((who, at, times))
        return [self.rule.name] * self.fires(who)

    def resets(self, who: object) -> None:
        """Begin anew."""
        self.history.append((who, 0.0, 0))

    def fires(self, who: object) -> int:
        """How often the last entry of the history makes the rule fire."""
        assert self.rule.count is not None
        assert self.rule.within is not None
        counted: list[float] = []
        fired = 0
        for at, times in [(at, times) for other, at, times in self.history if other == who]:
            if times == 0 or any(earlier > at for earlier in counted):
                counted = []
            counted = [earlier for earlier in counted if at - earlier < self.rule.within]
            counted += [at] * times
            fired = len(counted) // self.rule.count
            counted = counted[fired * self.rule.count :]
        return fired


def rule(name: str, most: int) -> st.SearchStrategy[FrictionRule]:
    """A rule that counts to a few."""
    windows = st.sampled_from([0.5, 1.0, 2.0, 10.0])
    return st.builds(FrictionRule, st.just(name), st.integers(1, most), windows)


counting = st.tuples(
    rule("repeat_action", 4),
    rule("repeat_contact", 4),
    rule("error_streak", 3),
    rule("validation_loop", 4),
)
STEPS = (0.0, 0.25, 0.5, 1.0, 2.0, 9.0)
BACKWARDS = (-0.25, -5.0)


def traffic(whos, customers, interactions, steps):
    """Up to forty calls, with what is said in each of them."""
    calls = st.tuples(
        st.sampled_from(["enter", "act", "leave"]),
        st.sampled_from(whos),
        st.sampled_from(customers),
        st.sampled_from(steps),
        st.sampled_from(["completed", "failed", "abandoned"]),
        st.integers(0, 3),
        st.sampled_from(interactions),
    )
    return st.lists(calls, max_size=40)


@given(counting, traffic(["a", "b", "a", "b", None], ["c", "d", None], ["confirm", "pay"], STEPS))
def test_against_the_whole_history(rules, calls) -> None:
    """Under any traffic it fires when, and only when, the whole history says so."""
    agrees_with_the_history(rules, calls)


@given(counting, traffic(["a", "a", None], ["a", None], ["confirm"], STEPS + BACKWARDS))
def test_against_the_whole_history_under_any_clock(rules, calls) -> None:
    """Of one customer it does so wherever the clock goes."""
    agrees_with_the_history(rules, calls)


def test_who_was_let_go_stays_so_when_the_clock_goes_back() -> None:
    """Whoever had left the window when another came is not counted from before, but anew."""
    one = watch(FrictionRule("repeat_action", count=2, within=2.0))
    one.enter("a", None, 100.0)
    one.enter("b", None, 102.0)

    assert entered(one, "a", 101.0, 101.5) == [0, 1]


def agrees_with_the_history(rules, calls) -> None:
    """Make the calls, and compare what each of them finds."""
    one = watch(*rules)
    entries, contacts, errors, rejections = map(Historian, rules)
    actions = Historian(rules[0])
    now = 100.0
    for call, who, customer, step, outcome, rejected, interaction in calls:
        now += step
        expected: list[str] = []
        if call == "enter":
            found = one.enter(who, customer, now)
            # Nobody is joined with nobody.
            expected += entries.happens(who or object(), now)
            expected += contacts.happens(customer or who or object(), now)
        elif call == "act":
            found = one.act(who, interaction, now)
            expected += actions.happens((who, interaction), now) if who else []
        else:
            found = one.leave(who, now, 0.0, outcome, rejected)
            key = who or object()
            if outcome == "failed":
                expected += errors.happens(key, now)
            elif outcome == "completed":
                errors.resets(key)
            if rejected:
                expected += rejections.happens(key, now, rejected)
            elif outcome == "completed":
                rejections.resets(key)
        assert [each.name for each in found] == expected
