"""multiprocessing, in all its ways: each child sends its own spans, and knows no customer."""

import multiprocessing
from textwrap import indent

import pytest

from tests.life.programs import names, run, sent

METHODS = multiprocessing.get_all_start_methods()

WORK = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def work(number=0):
    assert current_context() is None, current_context()
    with touchpoint("child"):
        return number

def inside():
    return journey("order"), customer("a", consent="granted"), touchpoint("parent")

configure()
way = multiprocessing.get_context("METHOD")
"""


def within_a_visit(method, body):
    """A program that does something with processes, at a touchpoint of a customer."""
    lines = "if __name__ == '__main__':\n    ours, theirs, visit = inside()\n"
    lines += "    with ours, theirs, visit:\n"
    return WORK.replace("METHOD", method) + lines + indent(body, " " * 8)


def customers(folder):
    """The names of the spans that say who the customer is, sorted."""
    told = [span.name for span in sent(folder) if "enduser.pseudo.id" in span.attributes]
    return sorted(set(told))


@pytest.mark.parametrize("method", METHODS)
def test_a_process(tmp_path, method):
    """A process that is started within a visit begins without a customer, and sends at its end."""
    run(
        tmp_path,
        within_a_visit(
            method,
            """
children = [way.Process(target=work) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
assert [child.exitcode for child in children] == [0, 0, 0]
""",
        ),
    )

    assert names(tmp_path) == ["child"] * 3 + ["parent"]
    assert customers(tmp_path) == ["parent"]


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_whose_processes_are_replaced(tmp_path, method):
    """With ``maxtasksperchild`` each process sends its spans before it goes."""
    run(
        tmp_path,
        within_a_visit(
            method,
            """
pool = way.Pool(2, maxtasksperchild=2)
assert pool.map(work, range(9), chunksize=1) == list(range(9))
pool.close()
pool.join()
""",
        ),
    )

    assert names(tmp_path) == ["child"] * 9 + ["parent"]
    assert customers(tmp_path) == ["parent"]


@pytest.mark.parametrize("method", METHODS)
def test_an_executor_of_processes(tmp_path, method):
    """The processes of a ``ProcessPoolExecutor`` send what they have when it is shut down."""
    run(
        tmp_path,
        within_a_visit(
            method,
            """
with ProcessPoolExecutor(2, mp_context=way) as executor:
    assert list(executor.map(work, range(6))) == list(range(6))
""",
        ),
    )

    assert names(tmp_path) == ["child"] * 6 + ["parent"]
    assert customers(tmp_path) == ["parent"]


@pytest.mark.skipif("forkserver" not in METHODS, reason="this system has no forkserver")
def test_a_forkserver_that_is_configured(tmp_path):
    """Where the server of forks has configured cxtrace, its children send all the same."""
    (tmp_path / "shop.py").write_text(
        "import cxtrace, os\n"
        "cxtrace.configure(service_name='shop', exporter='file:' + os.environ['OUT'])\n"
        "def work():\n"
        "    with cxtrace.touchpoint('child'):\n"
        "        pass\n",
        encoding="utf-8",
    )
    run(
        tmp_path,
        """
        import multiprocessing
        if __name__ == "__main__":
            import shop
            multiprocessing.set_forkserver_preload(["shop"])
            way = multiprocessing.get_context("forkserver")
            children = [way.Process(target=shop.work) for _ in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
        """,
    )

    assert names(tmp_path) == ["child"] * 3


@pytest.mark.skipif("fork" not in METHODS, reason="this system has no fork")
def test_processes_that_are_terminated(tmp_path):
    """``terminate()`` sends SIGTERM; ``shutdown_on_sigterm`` lets the processes send first.

    A pool that is terminated can wait for ever where there is any handler in Python: see
    docs/howto/process-life.md.
    """
    run(
        tmp_path,
        WORK.replace("METHOD", "fork")
        + """
def stay(told):
    work()
    os.write(told, b".")
    while True:
        time.sleep(0.05)

cxtrace.shutdown_on_sigterm()
if __name__ == "__main__":
    heard, told = os.pipe()
    children = [way.Process(target=stay, args=(told,)) for _ in range(3)]
    for child in children:
        child.start()
        assert os.read(heard, 1) == b"."
    for child in children:
        child.terminate()
        child.join()
    assert [child.exitcode for child in children] == [-signal.SIGTERM] * 3
""",
    )

    assert names(tmp_path) == ["child"] * 3
