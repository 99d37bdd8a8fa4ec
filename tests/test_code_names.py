"""Functions that a map names are found in code without importing it."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._code_check import compare
from cxtrace._code_names import module_names, module_of
from cxtrace._code_scan import scan
from cxtrace._map.lint import Finding
from cxtrace.journey_map import JourneyMap

HEAD = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "pay"
stage = "purchase"
owner = "it"
"""
ORDERS = """
import functools
from elsewhere import helper, other as renamed
import package.module

def pay(): ...
async def ship(): ...
if functools:
    def on_linux(): ...
else:
    def elsewhere(): ...
try:
    def fast(): ...
except ImportError as error:
    def slow(): ...
finally:
    last = 1
cancel = functools.partial(pay)
one, (two, *three) = 1, (2, 3)
annotated: int = 3
for looped in ():
    pass
with open("x") as opened:
    pass
match one:
    case 1:
        def matched(): ...

class Order:
    total = property(pay)
    def place(self):
        def inner(): ...
        local = 1
    class Line:
        def price(self): ...

class Gift(Order):
    pass

@functools.cache
class Made:
    pass
"""


def findings(folder: Path, match: str, *roots: str) -> list[Finding]:
    """What is found about a match, apart from what it is of no concern here."""
    text = f"{HEAD}match = {match}\n"
    found = compare(JourneyMap.loads(text, "m.toml"), scan([folder / root for root in roots]))
    return [finding for finding in found if finding.rule.startswith("match-")]


def messages(folder: Path, target: str, *roots: str) -> list[str]:
    """The messages about a function, without the folder of the test."""
    found = findings(folder, f'{{ function = "{target}" }}', *roots)
    assert all(str(f.problem).startswith("m.toml:7: touchpoint[pay].match: ") for f in found)
    return [f.problem.message.replace(f"{folder}/", "") for f in found]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a package, a script and a folder of modules."""
    files = {
        "src/shop/__init__.py": "from shop.orders import pay\n",
        "src/shop/orders.py": ORDERS,
        "src/shop/json.py": "def loads(): ...\n",
        "src/shop/stars.py": "from shop.orders import *\n",
        "src/shop/lazy/__init__.py": "def __getattr__(name): ...\n",
        "src/shop/native.cpython-311-x86_64-linux-gnu.so": "",
        "src/plain/jobs.py": "def run(): ...\n",
        "script.py": "def main(): ...\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "pay", "ship", "on_linux", "elsewhere", "fast", "slow", "last", "cancel", "two", "three",
        "annotated", "looped", "opened", "matched", "helper", "renamed", "package", "Order.place",
        "Order.Line.price", "Order.total", "Gift.place", "Gift.anything", "Made.anything",
        "helper.method", "cancel.func",
    ],
)  # fmt: skip
def test_what_is_there_is_found(code: Path, path: str) -> None:
    """Functions and methods, and all that is imported, assigned or inherited."""
    assert messages(code, f"shop.orders:{path}", "src") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pya", 'src/shop/orders.py has no "pya"; did you mean "pay"?'),
        ("Order.plce", 'src/shop/orders.py has no "Order.plce"; did you mean "Order.place"?'),
        ("other", 'src/shop/orders.py has no "other"; did you mean "Order.place"?'),
        ("inner", 'src/shop/orders.py has no "inner"; write one of:'),
        ("pay.inner", 'src/shop/orders.py has no "pay.inner"; '),
        ("Order", '"shop.orders:Order" is a class; name a function or a method'),
        ("Order.Line", '"shop.orders:Order.Line" is a class; name a function or a method'),
    ],
)
def test_what_is_not_there_is_told(code: Path, path: str, message: str) -> None:
    """The message names the file, and what was probably meant."""
    [found] = messages(code, f"shop.orders:{path}", "src")

    assert found.startswith(message.partition("; did")[0])


def test_a_near_name_is_guessed(code: Path) -> None:
    """Of functions as of modules."""
    assert messages(code, "shop.orders:pya", "src") == [
        'src/shop/orders.py has no "pya"; did you mean "pay"?'
    ]
    assert messages(code, "shop.ordres:pay", "src") == [
        'the code has no module "shop.ordres"; did you mean "shop.orders"?'
    ]


@pytest.mark.parametrize(
    ("target", "roots"),
    [
        ("shop:pay", ["src"]),
        ("shop.stars:anything", ["src"]),
        ("shop.lazy:anything", ["src"]),
        ("shop.lazy.later:anything", ["src"]),
        ("shop.native:anything", ["src"]),
        ("plain.jobs:run", ["src"]),
        ("plain.other:run", ["src"]),
        ("json:anything", ["src"]),
        ("jobs:anything", ["src"]),
        ("json:anything", ["src/shop"]),
        ("shop.orders:pay", ["src/shop"]),
        ("shop.orders:pay", ["src/shop/orders.py"]),
        ("shop.other:pay", ["src/shop/orders.py"]),
        ("shop.orders:pay", ["."]),
        ("src.shop.orders:pay", ["."]),
        ("script:main", ["script.py"]),
        ("elsewhere:pay", ["src", "script.py"]),
    ],
)
def test_what_cannot_be_known_is_not_judged(code: Path, target: str, roots: list[str]) -> None:
    """A module that is not among the code, and names that only running code makes."""
    assert messages(code, target, *roots) == []


@pytest.mark.parametrize(
    ("target", "roots"),
    [
        ("plain.jobs:rnu", ["src"]),
        ("jobs:rnu", ["src/plain"]),
        ("script:mian", ["script.py"]),
        ("script:mian", ["."]),
        ("shop.orders:pya", ["."]),
        ("shop.json:load", ["src/shop"]),
    ],
)
def test_a_module_is_found_from_every_root(code: Path, target: str, roots: list[str]) -> None:
    """Whether a source folder, a package or a file is named."""
    assert len(messages(code, target, *roots)) == 1


def test_other_targets_need_no_code(code: Path) -> None:
    """A route or a task is known only to the framework."""
    assert findings(code, '[{ route = "GET /" }, { task = "pay" }]', "src") == []


def test_a_file_that_is_no_python_defines_nothing(code: Path) -> None:
    """It is told as such, and what it might define is not judged."""
    (code / "src/shop/broken.py").write_text("def", encoding="utf-8")

    assert messages(code, "shop.broken:pay", "src") == []


DECORATED = """
from cxtrace import touchpoint

@touchpoint("pay")
def pay(): ...

@print
@touchpoint(
    "other",
)
def other(): ...

def ship():
    with touchpoint("pay"):
        pass

class Order:
    @staticmethod
    @touchpoint("pay")
    def place(): ...
"""


@pytest.mark.parametrize(
    ("path", "line"), [("pay", 4), ("Order.place", 19), ("other", None), ("ship", None)]
)
def test_a_function_that_would_count_twice_is_told(
    tmp_path: Path, path: str, line: int | None
) -> None:
    """Only where the function itself is decorated as the same touchpoint."""
    (tmp_path / "shop.py").write_text(DECORATED, encoding="utf-8")
    expected = (
        f"shop.py:{line} makes this touchpoint of the function already;"
        " remove the decorator or the match"
    )

    assert messages(tmp_path, f"shop:{path}", "shop.py") == ([expected] if line else [])


def test_the_names_of_a_file_are_those_of_its_packages(tmp_path: Path) -> None:
    """From inside a package the names begin outside of it; from outside, at the root too."""
    file = tmp_path / "a" / "b" / "c.py"
    file.parent.mkdir(parents=True)
    file.touch()
    assert module_names(file, tmp_path) == {"a.b.c"}
    assert module_names(file, file.parent) == module_names(file, file) == {"c"}
    (file.parent / "__init__.py").touch()

    assert module_names(file, tmp_path) == {"a.b.c", "b.c"}
    assert module_names(file, file.parent) == module_names(file, file) == {"b.c"}
    assert module_names(file.parent / "__init__.py", file.parent) == {"b"}


@given(st.text("abc.", max_size=6))
def test_any_path_can_be_looked_for(path: str) -> None:
    """Whatever the map says, there is an answer."""
    module = module_of(ast.parse("class a:\n  def b(): ...\nc = 1"), "x.py")
    found = module.find(path)

    assert found is None or found.kind in {"function", "class", "other"}
