"""Checks of what could be about a person."""

from cxtrace._blockers import WORDS
from cxtrace.platform.doctor.subject import Finding, Findings, Subject


def exceptions(subject: Subject) -> Findings:
    """Whether text of exceptions is sent as it is."""
    if subject.record_exceptions == "full":
        yield Finding(
            "exceptions-full",
            "warning",
            "Text and stack of exceptions are recorded as they are: they can hold what a customer "
            "has typed.",
            "Set record_exceptions to scrubbed, or leave it out: the class is always recorded.",
        )


def values(subject: Subject) -> Findings:
    """Whether the application gives away what is about people."""
    found = [
        f"{subject.blocked[name]} times {words}"
        for kind, words in WORDS.items()
        if (name := f"personal.{kind}") in subject.blocked
    ]
    if found:
        yield Finding(
            "personal-values",
            "warning",
            f"The code gave cxtrace what looks like {', '.join(found)}; nothing of it is sent.",
            "The log of cxtrace says where it was given, without showing it. Take it out there.",
        )
