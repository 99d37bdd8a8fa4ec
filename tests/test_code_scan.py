"""What code says about touchpoints is read without importing it, and compared with the map."""

import sys
from pathlib import Path

import pytest

from cxtrace._code_check import compare
from cxtrace._code_scan import Scan, Use, scan, uses
from cxtrace._map.lint import Finding
from cxtrace.journey_map import JourneyMap

MAP = JourneyMap.loads(
    """
    schema = "cxtrace.map/1"
    name = "shop"
    functions = { it = {}, sales = {} }
    [[stage]]
    name = "purchase"
    phase = "customer"
    [[touchpoint]]
    name = "cart.view"
    stage = "purchase"
    owner = "sales"
    channel = ["web", "mobile_app"]
    interactions = ["apply_coupon"]
    [[touchpoint]]
    name = "cart.add"
    stage = "purchase"
    owner = "sales"
    [[touchpoint]]
    name = "store.visit"
    stage = "purchase"
    owner = "sales"
    match = [{ route = "POST /visit" }]
    [[journey]]
    name = "first_order"
    """,
    "m.toml",
)


def found(source: str) -> list[tuple[str, str | None]]:
    """Kind and name of every use in a source."""
    return [(use.kind, use.name) for use in uses(source.encode(), "shop.py")]


@pytest.mark.parametrize(
    "source",
    [
        'from cxtrace import touchpoint\n@touchpoint("a")\ndef f(): ...',
        'from cxtrace import touchpoint\n@touchpoint("a", attach=True)\nasync def f(): ...',
        'from cxtrace import touchpoint\nwith touchpoint("a") as tp: ...',
        'from cxtrace import touchpoint\nasync def f():\n    async with touchpoint(name="a"): ...',
        'from cxtrace import touchpoint as tp\nf = tp("a")(f)',
        'from cxtrace import *\ntouchpoint("a")',
        'import cxtrace\ncxtrace.touchpoint("a")',
        'import cxtrace as cx\ncx.touchpoint("a")',
        'import cxtrace.signals\ncxtrace.touchpoint("a")',
        'def f():\n    from cxtrace import touchpoint\n    return lambda: touchpoint("a")',
        'from cxtrace import touchpoint\nA = "a"\ntouchpoint(A)',
        'from cxtrace import touchpoint\nfrom typing import Final\nA: Final = "a"\ntouchpoint(A)',
        'from cxtrace import touchpoint\nA = B = "a"\ntouchpoint(B)',
    ],
)
def test_a_touchpoint_is_found_however_it_is_written(source: str) -> None:
    """Decorator, call and with; every form of import; names of module-level constants."""
    assert found(source) == [("touchpoint", "a")]


@pytest.mark.parametrize(
    "source",
    [
        'def touchpoint(name): ...\ntouchpoint("a")',
        'from other import touchpoint\ntouchpoint("a")',
        'from .cxtrace import touchpoint\ntouchpoint("a")',
        'import cxtrace.signals as cx\ncx.touchpoint("a")',
        'import other.cxtrace\nother.cxtrace.touchpoint("a")',
        'from cxtrace import customer\ncustomer("a")',
        'import cxtrace\ncxtrace.customer("a")\n(lambda: 1)()\nf()()',
    ],
)
def test_what_is_not_ours_is_left_alone(source: str) -> None:
    """A function of the same name from elsewhere is no touchpoint."""
    assert found(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "touchpoint(name)",
        'touchpoint(f"a.{b}")',
        "touchpoint(A.b)",
        "touchpoint(*names)",
        "touchpoint()",
        "touchpoint(3)",
        'A = "a"\nA = "b"\ntouchpoint(A)',
        'A = "a"\nA += "b"\ntouchpoint(A)',
        'A = "a"\ndef f(A):\n    touchpoint(A)',
        'A = "a"\ndef f():\n    global A\n    touchpoint(A)',
        'A = "a"\nimport A\ntouchpoint(A)',
        'A = "a"\ndef A(): ...\ntouchpoint(A)',
        'def f():\n    A = "a"\n    touchpoint(A)',
        "A = 3\ntouchpoint(A)",
        "A: str\ntouchpoint(A)",
        '(A, B) = "ab"\ntouchpoint(A)',
    ],
)
def test_a_name_that_only_the_running_code_knows_is_none(source: str) -> None:
    """Whatever is no plain text and no constant is not guessed."""
    assert found(f"from cxtrace import touchpoint\n{source}") == [("touchpoint", None)]


def test_interactions_and_journeys_are_found_too() -> None:
    """Uses come in the order of lines."""
    source = (
        "from cxtrace import interaction, journey as way\n"
        'with way("first_order"):\n    with interaction("apply_coupon"): ...\n'
    )

    assert found(source) == [("journey", "first_order"), ("interaction", "apply_coupon")]


@pytest.mark.parametrize(
    ("source", "name", "disclosed"),
    [
        ('from cxtrace import nudge\nnudge("a", "default", disclosed=False)', "a", "False"),
        ('import cxtrace as cx\ncx.nudge(id="a", disclosed=False)', "a", "False"),
        ('def f(tp):\n    tp.nudge("a", disclosed=False)', "a", "False"),
        ('def f(tp):\n    self.tp().nudge("a", disclosed=False)', "a", "False"),
        ('def f(tp):\n    tp.nudge(f"a{b}", disclosed=told(a))', None, "told(a)"),
    ],
)
def test_nudges_that_are_not_disclosed_are_found(
    source: str, name: str | None, disclosed: str
) -> None:
    """As a function or as a method of whatever; where only the running code knows, too."""
    assert uses(source.encode(), "shop.py") == [
        Use("nudge", name, "shop.py", 2, {"disclosed": disclosed})
    ]


@pytest.mark.parametrize(
    "source",
    [
        'def f(tp):\n    tp.nudge("a")',
        'def f(tp):\n    tp.nudge("a", disclosed=True)',
        'nudge("a", disclosed=False)',
    ],
)
def test_nudges_that_are_disclosed_are_left_alone(source: str) -> None:
    """Disclosed is the default; a function of the same name from elsewhere is not ours."""
    assert found(source) == []


def test_arguments_that_are_known_are_read() -> None:
    """Stage, owner and channel are kept where they are texts or constants."""
    source = (
        'from cxtrace import touchpoint\nWEB = "web"\n'
        '@touchpoint("a", stage="s", owner=who(), channel=WEB, **more)\ndef f(): ...\n'
    )

    assert uses(source.encode(), "shop.py") == [
        Use("touchpoint", "a", "shop.py", 3, {"stage": "s", "channel": "web"})
    ]


def test_code_is_never_run(tmp_path: Path) -> None:
    """A module that would do harm when imported is only read."""
    (tmp_path / "harm.py").write_text(
        'import sys\nfrom cxtrace import touchpoint\nsys.exit("run")\ntouchpoint("a")\n',
        encoding="utf-8",
    )
    result = scan([tmp_path])

    assert [use.name for use in result.uses] == ["a"]
    assert "harm" not in sys.modules


def test_directories_of_others_are_passed_over(tmp_path: Path) -> None:
    """Hidden directories, environments and installed packages are not the project's code."""
    for folder in ("src", "src/inner", ".venv", "venv", "node_modules", "x/site-packages", ".git"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(
            f'from cxtrace import touchpoint\ntouchpoint("{folder}")', encoding="utf-8"
        )
    (tmp_path / "src" / "b.txt").write_text("no code", encoding="utf-8")

    assert [use.name for use in scan([tmp_path]).uses] == ["src", "src/inner"]


def test_a_file_that_cannot_be_read_does_not_stop_the_scan(tmp_path: Path) -> None:
    """Wrong syntax, wrong bytes and missing files are noted; the others are read."""
    (tmp_path / "a_syntax.py").write_text("x = 1\ndef (", encoding="utf-8")
    (tmp_path / "b_bytes.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "c_null.py").write_bytes(b"x = '\x00'\n")
    (tmp_path / "d_deep.py").write_text("(" * 5000 + ")" * 5000, encoding="utf-8")
    (tmp_path / "e_fine.py").write_text(
        'import cxtrace\ncxtrace.touchpoint("a")\nx = "\\d"\n', encoding="utf-8"
    )
    result = scan([tmp_path, tmp_path / "absent.py"])
    noted = [(Path(file).name, line) for file, line, _ in result.unreadable]

    assert noted[0] == ("a_syntax.py", 2)
    assert [name for name, _ in noted] == [
        "a_syntax.py",
        "b_bytes.py",
        "c_null.py",
        "d_deep.py",
        "absent.py",
    ]
    assert all(reason for _, _, reason in result.unreadable)
    assert [use.name for use in result.uses] == ["a"]


# Code against map


def check(source: str) -> list[Finding]:
    """What the map says about a source, without what the source does not emit."""
    result = Scan(uses(f"from cxtrace import *\n{source}".encode(), "shop.py"))
    return [finding for finding in compare(MAP, result) if finding.rule != "not-emitted"]


def test_code_that_follows_the_map_is_fine() -> None:
    """Right names and right arguments give no finding."""
    source = (
        'with journey("first_order"), interaction("apply_coupon"):\n'
        '    touchpoint("cart.view", stage="purchase", owner="sales", channel="mobile_app")\n'
        '    touchpoint("cart.add", channel="email")\n'
    )

    assert check(source) == []


@pytest.mark.parametrize(
    ("source", "rule", "problem"),
    [
        (
            'touchpoint("cart.veiw")',
            "unknown-touchpoint",
            (
                'touchpoint[cart.veiw]: the map has no touchpoint "cart.veiw";'
                ' did you mean "cart.view"?'
            ),
        ),
        (
            'interaction("open_door")',
            "unknown-interaction",
            (
                'interaction[open_door]: the map has no interaction "open_door";'
                " write one of: apply_coupon"
            ),
        ),
        (
            'journey("second_order")',
            "unknown-journey",
            (
                'journey[second_order]: the map has no journey "second_order";'
                ' did you mean "first_order"?'
            ),
        ),
        (
            'touchpoint("cart.view", stage="delivery")',
            "different-stage",
            (
                'touchpoint[cart.view]: stage is "delivery" here, but "purchase" in the map'
                " (m.toml:8); leave it to the map"
            ),
        ),
        (
            'touchpoint("cart.view", owner="it")',
            "different-owner",
            (
                'touchpoint[cart.view]: owner is "it" here, but "sales" in the map (m.toml:8);'
                " leave it to the map"
            ),
        ),
        (
            'touchpoint("cart.view", channel="email")',
            "different-channel",
            (
                'touchpoint[cart.view]: channel is "email" here, but "web" or "mobile_app"'
                " in the map (m.toml:8); leave it to the map"
            ),
        ),
        (
            "touchpoint(name)",
            "not-checked",
            "touchpoint: not checked: the name is known only when the code runs",
        ),
    ],
)
def test_a_difference_is_told_with_its_line(source: str, rule: str, problem: str) -> None:
    """Each difference names its rule, file and line, both sides and what to do."""
    [finding] = check(source)

    assert (finding.rule, str(finding.problem)) == (rule, f"shop.py:2: {problem}")
    assert finding.level == ("note" if rule == "not-checked" else "error")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            'nudge("hurry", "scarcity", disclosed=False)',
            "nudge[hurry]: the customer is not told about this nudge",
        ),
        (
            "tp.nudge(name, disclosed=False)",
            "nudge: the customer is not told about this nudge",
        ),
        (
            'tp.nudge("hurry", disclosed=told)',
            (
                "nudge[hurry]: whether the customer is told about this nudge is known"
                " only when the code runs"
            ),
        ),
    ],
)
def test_an_undisclosed_nudge_is_listed(source: str, problem: str) -> None:
    """It is allowed, and nobody should have to look for it."""
    [finding] = check(source)

    assert (finding.rule, finding.level) == ("undisclosed-nudge", "note")
    assert str(finding.problem) == f"shop.py:2: {problem}"


def test_two_definitions_that_disagree_are_told_at_the_second() -> None:
    """Even a touchpoint that the map does not know has one owner; it may have many channels."""
    rest = 'touchpoint("new", owner="sales", channel="web")\ntouchpoint("new", channel="email")\n'
    findings = check(f'touchpoint("new", owner="it")\n{rest}')

    assert [str(f.problem) for f in findings if f.rule == "two-definitions"] == [
        (
            'shop.py:3: touchpoint[new]: owner is "sales" here, but "it" at shop.py:2;'
            " make both the same"
        )
    ]


def test_a_planned_touchpoint_that_no_code_emits_is_told() -> None:
    """It is told at its place in the map, unless the map says where to find it in the code."""
    findings = compare(MAP, Scan(uses(b'import cxtrace\ncxtrace.touchpoint("cart.add")', "a.py")))

    assert [(f.rule, f.level, str(f.problem)) for f in findings] == [
        (
            "not-emitted",
            "error",
            (
                "m.toml:8: touchpoint[cart.view]: planned, but no code emits it;"
                " decorate the code, or add match to the map"
            ),
        )
    ]


def test_a_file_that_is_no_python_is_an_error() -> None:
    """What cannot be read cannot be checked, and that is not silent."""
    [finding, *_] = compare(MAP, Scan(unreadable=[("a.py", 3, "invalid syntax")]))

    assert (finding.rule, str(finding.problem)) == (
        "unreadable-code",
        "a.py:3: the file cannot be read as Python: invalid syntax",
    )
