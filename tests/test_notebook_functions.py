"""The notebook's own functions in a real kernel: found, run where they belong, in awaited cells and in blocked ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Executed, Kernel, started_kernel
from tests.test_notebook_kernel import await_output

CELL = "%%compose made -o run{line}\ncomponent:\n  type: function\n  function: {name}\n  input: {{text: '${{input.text | a b c}}'}}\n"

# what an asynchronous function of a notebook lives with: its own loop's things
DEFINED = """\
import asyncio, threading, time
loop = asyncio.get_running_loop()
lock, seen = asyncio.Lock(), []

def plain(text):
    seen.append(threading.current_thread() is threading.main_thread())
    return text.upper()

async def own(text):
    async with lock:                       # belongs to the kernel's loop
        await asyncio.sleep(0.01)
        seen.append(asyncio.get_running_loop() is loop)
        return text.upper()

async def pieces(text):
    for word in text.split():
        async with lock:
            await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop() is loop)
        yield word.upper()

def says(text):
    print("said", text)
    return text
"""
WAITS = """\
ended = asyncio.Event()
async def waits(text):
    try:
        print("it has begun", flush=True)
        await asyncio.sleep(600)
    finally:
        ended.set()
"""
PATCHED = "hasattr(asyncio, '_nest_patched')"


@pytest.fixture
def notebook() -> Iterator[Kernel]:
    """A kernel of its own for each test: what one patches, another must not find."""
    with started_kernel() as kernel:
        done = kernel.execute("%load_ext composemagic\n" + DEFINED)
        assert done.error is None, done.error
        yield kernel


def ok(done: Executed) -> Executed:
    assert done.error is None, done.error
    return done


def value(kernel: Kernel, expression: str) -> str:
    return ok(kernel.execute(expression)).text


@pytest.mark.parametrize("name", ["plain", "own", "pieces"])
def test_in_an_awaited_cell(notebook: Kernel, name: str) -> None:
    ok(notebook.execute(CELL.format(name=name, line="")))
    wanted = "'A B C'" if name != "pieces" else "'ABC'"
    assert value(notebook, "run.output") == wanted
    assert value(notebook, "set(seen)") == ("{False}" if name == "plain" else "{True}")
    assert value(notebook, PATCHED) == "False", "the kernel's loop was free: nothing had to be patched"


@pytest.mark.parametrize("name", ["plain", "own", "pieces"])
@pytest.mark.parametrize(
    "call", ["made()", "for event in made.stream(): pass", "made.start({'text': 'a b c'}).result(60)"]
)
def test_in_a_cell_that_blocks(notebook: Kernel, name: str, call: str) -> None:
    ok(notebook.execute(CELL.format(name=name, line=" --check")))
    ok(notebook.execute(call))
    assert value(notebook, "set(seen)") == ("{False}" if name == "plain" else "{True}")
    assert value(notebook, PATCHED) == ("False" if name == "plain" else "True")
    assert value(notebook, "await own('still')") == "'STILL'", "the kernel goes on"


def test_cells_that_wait_in_the_queue_run_after_a_blocked_one(notebook: Kernel) -> None:
    ok(notebook.execute(CELL.format(name="pieces", line=" --check")))
    sent = [
        notebook.submit(code)
        for code in ("order = ['first']; result = made(text='x ' * 50).output", "order.append('second')", "order")
    ]
    last = [ok(notebook.collect(one)) for one in sent][-1]
    assert last.text == "['first', 'second']"
    assert value(notebook, "result == 'X' * 50") == "True"


def test_two_runs_at_once_in_a_blocked_cell(notebook: Kernel) -> None:
    ok(notebook.execute(CELL.format(name="own", line=" --check")))
    done = notebook.execute("runs = [made.start({'text': str(n)}) for n in range(5)]; [run.result(60) for run in runs]")
    assert ok(done).text == "['0', '1', '2', '3', '4']"


def test_await_in_a_cell(notebook: Kernel) -> None:
    ok(notebook.execute(CELL.format(name="own", line=" --check")))
    assert ok(notebook.execute("(await made.arun(text='x')).output")).text == "'X'"
    assert value(notebook, PATCHED) == "False"


def test_an_edited_function_is_the_one_that_is_called(notebook: Kernel) -> None:
    ok(notebook.execute(CELL.format(name="plain", line=" --check")))
    assert ok(notebook.execute("made(text='x').output")).text == "'X'"
    ok(notebook.execute("def plain(text): return text * 3"))
    assert ok(notebook.execute("made(text='x').output")).text == "'xxx'"


def test_load_in_a_notebook_finds_them_too(notebook: Kernel) -> None:
    code = "import composemagic\nrun = await composemagic.load('component: {type: function, function: own}').arun(text='x')"
    ok(notebook.execute(code))
    assert value(notebook, "run.output") == "'X'"


def test_given_functions_run_on_the_kernels_loop_as_well(notebook: Kernel) -> None:
    code = (
        "composemagic.load('component: {type: function, function: given}', functions={'given': own})(text='x').output"
    )
    assert ok(notebook.execute("import composemagic\n" + code)).text == "'X'"
    assert value(notebook, "set(seen)") == "{True}"


def test_a_decorated_function_of_a_cell(notebook: Kernel) -> None:
    define = "import composemagic\n@composemagic.component('loud')\nasync def loud(text: str, times: int = 1):\n    async with lock:\n        return text.upper() + '!' * times\n"
    ok(notebook.execute(define))
    ok(notebook.execute("%%compose -o run\ncomponent: {type: loud, text: hi, times: 2}\n"))
    assert value(notebook, "run.output") == "'HI!!'"
    ok(notebook.execute(define.replace("'!'", "'?'")))
    ok(notebook.execute("%%compose -o run\ncomponent: {type: loud, text: hi, times: 2}\n"))
    assert value(notebook, "run.output") == "'HI??'"


def test_an_error_names_the_cell_and_the_line(notebook: Kernel) -> None:
    ok(notebook.execute("def broken(text):\n    number = len(text)\n    return number / 0\n"))  # the second cell
    done = notebook.execute(CELL.format(name="broken", line=""))
    assert done.error is not None
    shown = done.error[2]
    assert "`broken` raised ZeroDivisionError: division by zero (Cell In[2], line 3)" in shown
    assert "   3 |     return number / 0\n" in shown
    assert "                  ^^^^^^^^^^" in shown
    assert "calling.py" not in shown


def test_what_a_function_prints_stands_in_its_cell(notebook: Kernel) -> None:
    done = ok(notebook.execute(CELL.format(name="says", line="")))
    assert "said a b c" in done.streams["stdout"]


@pytest.mark.parametrize("code", [CELL.format(name="waits", line=""), "made(text='x')"], ids=["awaited", "blocked"])
def test_the_stop_button_ends_an_async_function(notebook: Kernel, code: str) -> None:
    ok(notebook.execute(WAITS))
    ok(notebook.execute(CELL.format(name="waits", line=" --check")))
    sent = notebook.submit(code)
    await_output(notebook, sent, "it has begun")
    notebook.interrupt()
    done = notebook.collect(sent)
    assert done.error is not None
    assert done.error[0] == "KeyboardInterrupt"
    assert ok(notebook.execute("await asyncio.wait_for(ended.wait(), 30)")).text == "True"


def test_unloading_undoes_it(notebook: Kernel) -> None:
    ok(notebook.execute("%unload_ext composemagic\nfrom composemagic.components import adopted"))
    assert value(notebook, "adopted.way() is None") == "True"
