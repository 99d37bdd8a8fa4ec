"""A customer asks to be forgotten: what was sent can no longer be linked to anybody."""

import tempfile
from pathlib import Path

import cxtrace
from cxtrace import customer
from cxtrace.privacy import SaltedPseudonymiser, SQLiteStore


def pseudonym_of(account: str) -> str | None:
    with customer(account) as who:
        return who.pseudonym


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        salts = SQLiteStore(Path(folder) / "salts.db")
        # A second is more than a service would wait; the default is 50 milliseconds.
        pseudonymiser = SaltedPseudonymiser(salts, timeout=1.0)
        cxtrace.configure(
            exporter="none",
            key="an example key of 32 bytes, no more",
            pseudonymiser=pseudonymiser,
        )

        before = pseudonym_of("cust-42")
        print("the same customer:", pseudonym_of("cust-42") == before)
        print("forgotten:", pseudonymiser.forget("cust-42"))
        print("the same customer:", pseudonym_of("cust-42") == before)
        salts.close()
