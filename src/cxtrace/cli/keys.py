"""Make keys, and see what they make: their ids, and the pseudonyms of customers.

`new` prints a line for a file of keys, and is the one action that shows a key. `show-id` tells the
ids of the keys in force here, which stand beside each pseudonym as cx.customer.key_id. `pseudonym`
tells what to search for in the traces of a customer; ids that are not given are read from standard
input, one a line, so that no history of commands keeps them.
"""

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cxtrace._keys import Key, checked
from cxtrace.cli import refuse
from cxtrace.exceptions import ConfigurationError
from cxtrace.privacy import HmacPseudonymiser, KeyFile, Keys, load_keys

EXAMPLE: Final = """\
  cxtrace keys new --id 2026q3                    a line for the file of keys
  cxtrace keys show-id --file keys                which keys a file has
  cxtrace keys pseudonym < customers.txt          what to search for
  cxtrace keys pseudonym --tenant acme cust-42    a customer of a tenant"""

NO_KEY: Final = "there is no key; set CXTRACE_KEY or CXTRACE_KEY_FILE, or name a file with --file"

_BYTES: Final = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key [--id ID]")
    new.add_argument("--id", metavar="ID", help="name the key; by default by a fingerprint")
    show = actions.add_parser("show-id", help="tell the ids of keys [--file FILE]")
    pseudonym = actions.add_parser(
        "pseudonym", help="tell pseudonyms [--file FILE] [--tenant TENANT] [CUSTOMER ...]"
    )
    for each in (show, pseudonym):
        each.add_argument(
            "--file",
            type=Path,
            metavar="FILE",
            help="a file of keys; by default the keys are those of the environment",
        )
    pseudonym.add_argument("--tenant", help="the tenant whose customers they are")
    pseudonym.add_argument("customers", nargs="*", metavar="CUSTOMER", help="their ids")
    for each in (new, show, pseudonym):
        each.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked, and give the exit code."""
    try:
        if arguments.action == "new":
            return _new(arguments.id, is_json=arguments.json)
        keys = KeyFile(arguments.file) if arguments.file else load_keys(None, os.environ)
    except ConfigurationError as error:
        return refuse("keys", str(error))
    if keys is None:
        return refuse("keys", NO_KEY)
    if arguments.action == "show-id":
        return _show_ids(keys, is_json=arguments.json)
    if arguments.tenant == "":
        return refuse("keys", "--tenant must be text that is not empty")
    return _pseudonyms(keys, arguments.customers, arguments.tenant, is_json=arguments.json)


def _new(key_id: str | None, *, is_json: bool) -> int:
    secret = secrets.token_urlsafe(_BYTES)
    (key,) = checked((Key(secret.encode(), key_id),))
    if is_json:
        print(json.dumps({"key_id": key.key_id, "key": secret}, indent=2))
    else:
        print(secret if key_id is None else f"{key_id} = {secret}")
    return 0


def _show_ids(keys: Keys, *, is_json: bool) -> int:
    newest, *older = (key.key_id for key in keys.keys)
    if is_json:
        print(json.dumps({"key_id": newest, "older_keys": older}, indent=2))
        return 0
    print(f"{newest}  makes pseudonyms and signatures")
    for key_id in older:
        print(f"{key_id}  is believed")
    return 0


def _pseudonyms(keys: Keys, customers: Sequence[str], tenant: str | None, *, is_json: bool) -> int:
    """Tell them by number, in the order of the ids, which are not printed again."""
    made = HmacPseudonymiser(keys)
    given = customers or [line.rstrip("\r\n") for line in sys.stdin]
    found = [made.pseudonyms(customer, tenant) for customer in given if customer]
    if is_json:
        print(json.dumps(found, indent=2))
        return 0
    width = len(str(len(found)))
    for number, pseudonyms in enumerate(found, 1):
        for key_id, pseudonym in pseudonyms.items():
            print(f"{number:{width}}  {pseudonym}  {key_id}")
    return 0
