"""The shop opens, customers go their ways through it, and it closes again."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import Final

from cxtrace.cli._demo.facts import DemoError, Walk
from cxtrace.cli._demo.report import sign_of
from cxtrace.cli._demo.services import Services
from cxtrace.cli.map import glyphs

_WALK_SECONDS: Final = 60.0


def let_customers_in(services: Services, began: float) -> list[Walk]:
    """Open the shop, let the customers in, close the shop."""
    _say("a shop opens: storefront, payments, fulfilment")
    walks = []
    with services, closing(_customers(services)) as customers:
        _say(f"open after {time.monotonic() - began:.1f} s, and here are the customers")
        for walk in customers:
            walks.append(walk)
            sign = sign_of("failed" if walk.error else "completed", glyphs(sys.stderr.encoding))
            _say(f"  {sign} {walk.person['name']:6} {walk.journey:13} {walk.story or walk.error}")
        services.require_alive()
    _say(f"closed after {time.monotonic() - began:.1f} s; everything is sent")
    return walks


def _customers(services: Services) -> Generator[Walk, None, None]:
    url = f"http://{services.environment['SHOP_STOREFRONT']}"
    command = [*services.command("customers"), url]
    with services.spawn("customers", command, subprocess.PIPE) as customers:
        late = threading.Timer(_WALK_SECONDS, customers.kill)
        late.start()
        try:
            for line in customers.stdout or ():
                yield Walk(**json.loads(line))
            if customers.wait() != 0:
                raise DemoError(f"customers stayed away, or longer than {_WALK_SECONDS:.0f} s")
        finally:
            late.cancel()
            customers.kill()


def _say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
