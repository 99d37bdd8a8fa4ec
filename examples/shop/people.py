"""The customers of the shop: what is personal about them must never be seen in telemetry."""

from typing import Final, NamedTuple


class Person(NamedTuple):
    """A customer, as the shop's own database knows them."""

    id: str
    name: str
    email: str
    segment: str
    address: str = "12 Rose Lane, Springfield"
    card: str = "4000 0000 0000 0077"
    letter: str = ""
    """Code in the letter that the shop sent to win them back."""
    order: str = ""
    """What they bought once, and have sent back."""


DECLINED: Final = "4000 0000 0000 0002"
"""The card that every bank declines."""

SLOW: Final = "4000 0000 0000 0119"
"""The card of a bank that takes its time."""

ANN: Final = Person("cust-0042", "Ann", "ann.lee@example.com", "private")
BOB: Final = Person("cust-0043", "Bob", "bob.stone@example.org", "private", card=DECLINED)
CARLA: Final = Person("cust-0044", "Carla", "carla.diaz@example.net", "smb", letter="BACK-7Q2L-44")
DORA: Final = Person("cust-0045", "Dora", "dora.novak@example.com", "private", order="0d7a5c19")
EMIL: Final = Person("cust-0046", "Emil", "emil.berg@example.org", "smb", letter="BACK-4W9K-46")
FAY: Final = Person("cust-0047", "Fay", "fay.okoro@example.net", "private", order="5e0c7b31")
GIL: Final = Person("cust-0048", "Gil", "gil.moreau@example.org", "private", card=SLOW)
PEOPLE: Final = (ANN, BOB, CARLA, DORA, EMIL, FAY, GIL)
