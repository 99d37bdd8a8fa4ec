"""The next process of the service: it makes no spans, and delivers what others left in the spool.

``python -m tests.faults.successor`` runs until its input is closed.
"""

from __future__ import annotations

import sys

from tests.faults.telemetry import telemetry

if __name__ == "__main__":
    shop = telemetry()
    sys.stdin.read()
    shop.stop()
    shop.write_books()
