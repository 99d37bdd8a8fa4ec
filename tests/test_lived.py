"""What the customer lived through in one visit, as the code has told."""

import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cxtrace._lived import MAX_REMEMBERED, Lived

words = st.sampled_from(["type", "click", "confirm"])


@given(st.lists(words))
def test_a_retry_is_the_same_action_again(actions: list[str]) -> None:
    """Of n times the same action, n - 1 are retries."""
    lived = Lived()
    for action in actions:
        lived.act(action)

    assert lived.actions == len(actions)
    assert lived.retries == sum(times - 1 for times in Counter(actions).values())
    assert lived.last == (actions[-1] if actions else None)


def test_waiting_adds_up() -> None:
    """Seconds in interactions are added."""
    lived = Lived()
    lived.wait(0.5)
    lived.wait(0.25)

    assert lived.waited == 0.75


def test_retries_of_the_service_are_no_actions() -> None:
    """What the service tries again is waited for, and is nothing that the customer did."""
    lived = Lived()
    lived.wait(0.5)
    lived.retry(0.25)
    lived.retry(0.0)

    assert (lived.service_retries, lived.waited) == (2, 0.75)
    assert (lived.actions, lived.retries) == (0, 0)


def test_rejections_are_counted_apart() -> None:
    """Each friction counts, and those of type validation_rejected once more."""
    lived = Lived()
    for friction in ("slow", "validation_rejected", "validation_rejected"):
        lived.suffer(friction)

    assert (lived.frictions, lived.rejected) == (3, 2)


def test_facts_of_one_name_are_gathered() -> None:
    """What was said again is there once, in the order in which it was said; None says nothing."""
    lived = Lived()
    lived.say({"friction.type": "slow", "emotion.label": None})
    lived.say({"friction.type": "error"})
    lived.say({"friction.type": "slow", "value.amount": 5.0})

    assert lived.said == {"friction.type": ("slow", "error"), "value.amount": (5.0,)}


def test_memory_is_bounded() -> None:
    """Past a thousand different actions and values, counts go on and no more is remembered."""
    lived = Lived()
    for number in range(MAX_REMEMBERED + 5):
        lived.act(f"a{number}")
        lived.say({"value.amount": number})
    lived.act("a0")
    lived.act(f"a{MAX_REMEMBERED + 1}")

    assert lived.actions == MAX_REMEMBERED + 7
    assert lived.retries == 1
    assert len(lived.said["value.amount"]) == MAX_REMEMBERED


def test_threads_lose_nothing() -> None:
    """All threads that work for a visit write to it, and every word counts."""
    lived = Lived()
    ready = threading.Barrier(4)

    def work(name: str) -> None:
        ready.wait()
        for _ in range(500):
            lived.act(name)
            lived.wait(0.5)
            lived.suffer("slow")

    threads = [threading.Thread(target=work, args=(f"a{number % 2}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (lived.actions, lived.retries, lived.frictions) == (2_000, 1_998, 2_000)
    assert lived.waited == 1_000.0


def test_what_was_refused_is_forgotten() -> None:
    """What signals of a kind have said can be taken back, and nothing else with it."""
    lived = Lived()
    lived.say({"emotion.label": "anger", "emotional": "x", "friction.type": "slow"})
    lived.measured.update({"feedback.normalized_score": 0.5, "handoff.duration": 1.0})
    lived.forget(("emotion", "feedback"))

    assert lived.said == {"emotional": ("x",), "friction.type": ("slow",)}
    assert lived.measured == {"handoff.duration": 1.0}
