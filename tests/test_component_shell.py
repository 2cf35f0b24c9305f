"""shell: real programs, started, fed, read and ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import RunError
from composemagic.components import shell
from composemagic.components.shell import ShellAction, ShellSettings
from tests.component_examples import documented, example, mistakes, notes
from tests.processes import lives
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the programs are those of POSIX")
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def forbid() -> Iterator[Callable[[], None]]:
    """Programs may be run, until this is called."""
    undo = composemagic.allow("shell")
    yield undo
    undo()


def load(folder: Path, settings: str, component: str = "") -> composemagic.Workflow:
    document = folder / "model-compose.yml"
    document.write_text(f"component: {{type: shell, {component} action: {{{settings}}}}}", encoding="utf-8")
    return composemagic.load(document)


def run(folder: Path, settings: str, component: str = "", **values: Any) -> composemagic.Run:
    started = load(folder, settings, component).start(values)
    started.wait()
    started.raise_for_error()
    return started


def stdout(folder: Path, settings: str, component: str = "", **values: Any) -> str:
    return str(run(folder, settings, component, **values).output["stdout"])


# -- results -----------------------------------------------------------------------------------------------------------


def test_the_result_has_both_outputs_and_the_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, "command: [sh, -c, 'echo \" out \"; echo err >&2; exit 3']")
    assert done.output == {"stdout": "out", "stderr": "err", "exit_code": 3}


def test_no_shell_reads_the_words(tmp_path: Path) -> None:
    given = "a b; $(touch here) `touch here` * \" ' > here"
    assert stdout(tmp_path, "command: [printf, '%s', '${input.x}']", x=given) == given
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(("word", "seen"), [(5, "5"), (2.5, "2.5"), (True, "true"), ("", ""), ("中", "中")])
def test_what_is_no_text_is_written_as_one(tmp_path: Path, word: Any, seen: str) -> None:
    assert stdout(tmp_path, "command: [printf, '<%s>', '${input.x}']", x=word) == f"<{seen}>"


def test_several_commands_run_one_after_the_other(tmp_path: Path) -> None:
    done = run(tmp_path, "command: [[sh, -c, 'echo one > file'], [cat, file], ['false']]")
    assert [each["stdout"] for each in done.output] == ["", "one", ""]
    assert [each["exit_code"] for each in done.output] == [0, 0, 1]


def test_a_whole_command_may_be_an_input(tmp_path: Path) -> None:
    assert stdout(tmp_path, "command: '${input.c}'", c=["echo", 1, 2]) == "1 2"


def test_a_program_that_a_signal_ends(tmp_path: Path) -> None:
    assert run(tmp_path, "command: [sh, -c, 'kill -9 $$']").output["exit_code"] == -9


@pytest.mark.parametrize(
    ("stdin", "seen"), [("a\nb", "a\nb"), (b"\xe4\xb8\xad", "中"), ({"n": [1]}, '{"n": [1]}'), (7, "7")]
)
def test_what_the_program_reads(tmp_path: Path, stdin: Any, seen: str) -> None:
    assert stdout(tmp_path, "command: [cat], stdin: '${input.x}'", x=stdin) == seen


def test_without_stdin_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert run(tmp_path, "command: [cat]").output == {"stdout": "", "stderr": "", "exit_code": 0}


def test_much_goes_in_and_out_at_once(tmp_path: Path) -> None:
    """4 MB through a pipe of 64 kB: who only writes first and reads then waits for ever."""
    text = "0123456789" * 400_000
    assert stdout(tmp_path, "command: [cat], stdin: '${input.x}'", x=text) == text


def test_a_program_that_does_not_read_is_no_error(tmp_path: Path) -> None:
    assert run(tmp_path, "command: ['true'], stdin: '${input.x}'", x="x" * 1_000_000).output["exit_code"] == 0


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    assert stdout(tmp_path, r"command: [printf, 'a\377b']") == "a\ufffdb"


# -- surroundings --------------------------------------------------------------------------------------------------------


def test_variables_of_the_process_the_component_and_the_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_PROCESS", "p")
    monkeypatch.setenv("TAKEN_AWAY", "t")
    code = 'import os, json; print(json.dumps({k: os.environ.get(k) for k in ("FROM_PROCESS", "TAKEN_AWAY", "A", "B", "N")}))'
    found = stdout(
        tmp_path,
        "command: ['${input.python}', -c, '${input.code}'], env: {B: action, N: 5, TAKEN_AWAY: null}",
        "env: {A: component, B: component},",
        python=sys.executable,
        code=code,
    )
    assert json.loads(found) == {"FROM_PROCESS": "p", "TAKEN_AWAY": None, "A": "component", "B": "action", "N": "5"}


def test_it_runs_in_the_folder_of_the_document_or_below(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    assert stdout(tmp_path, "command: [pwd, -P]") == str(tmp_path.resolve())
    assert stdout(tmp_path, "command: [pwd, -P], working_dir: sub") == str(tmp_path.resolve() / "sub")
    assert stdout(tmp_path, "command: [pwd, -P], working_dir: deep", "base_dir: sub,") == str(
        tmp_path.resolve() / "sub" / "deep"
    )


@pytest.mark.parametrize("place", ["..", "/", "sub/../.."])
def test_it_runs_nowhere_else(tmp_path: Path, place: str) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(RunError):
        run(tmp_path, f"command: [touch, here], working_dir: {place}")


def test_what_should_be_installed_first_is_said(tmp_path: Path) -> None:
    found = run(tmp_path, "command: [echo, hi]", "manage: {scripts: {install: [[pip, install, x]]}},")
    assert found.output["stdout"] == "hi"
    assert "`manage` is not run by composemagic; do once in a cell what it should install" in notes(found)


def test_only_python_allows_it(tmp_path: Path, forbid: Callable[[], None]) -> None:
    workflow = load(tmp_path, "command: [touch, '${input.name}']")
    workflow(name="one")
    forbid()
    with pytest.raises(RunError) as caught:
        workflow(name="two")
    assert caught.value.kind == "not_allowed"
    assert 'composemagic.allow("shell")' in caught.value.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-compose.yml", "one"]


# -- streams -----------------------------------------------------------------------------------------------------------


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    """The second line is written only when the first was read."""
    script = "echo one; until [ -e go ]; do sleep 0.01; done; echo two; printf three"
    workflow = load(tmp_path, f"command: [sh, -c, '{script}'], streaming: true, timeout: 60")
    seen = []
    for event in workflow.stream():
        if isinstance(event, composemagic.Delta):
            seen.append(event.value)
            if seen == ["one\n"]:
                (tmp_path / "go").touch()
    assert "".join(seen) == "one\ntwo\nthree"


def test_a_stream_is_one_text_or_a_list_of_lines(tmp_path: Path) -> None:
    command = "command: [printf, 'a\\n\\nb'], streaming: true"
    assert run(tmp_path, command).output == "a\n\nb"
    assert run(tmp_path, f"{command}, stream_fragmented: false").output == ["a\n", "\n", "b"]
    assert run(tmp_path, f"{command}, output: '<${{result[]}}>'").output == "<a\n><\n><b>"
    assert run(tmp_path, "command: [[echo, a], [echo, b]], streaming: true").output == "a\nb\n"


def test_a_character_in_two_reads_stays_one(tmp_path: Path) -> None:
    script = (
        "import sys, time; o = sys.stdout.buffer; o.write(b'\\xe4\\xb8'); o.flush(); o.write(b'\\xad\\n'); o.flush()"
    )
    workflow = load(tmp_path, "command: ['${input.p}', -c, '${input.s}'], streaming: true")
    assert workflow(p=sys.executable, s=script).output == "中\n"


def test_a_stream_whose_program_fails_says_its_last_words(tmp_path: Path) -> None:
    done = run(tmp_path, "command: [sh, -c, 'echo a; echo first >&2; echo no such thing >&2; exit 2'], streaming: true")
    assert done.output == "a\n"
    assert "`sh` ended with exit code 2: no such thing" in notes(done)


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_program_that_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, streaming: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child says its number, and then the time is over; neither it nor its parent is there afterwards."""
    news = shell._Program.news

    async def timely(program: Any) -> None:
        while not (tmp_path / "pids").exists():
            await asyncio.sleep(0.01)
        await news(program)  # whose time may be over by now

    monkeypatch.setattr(shell._Program, "news", timely)
    script = "sleep 600 & echo $! > pid; mv pid pids; wait"
    with pytest.raises(RunError) as caught:
        run(tmp_path, f"command: [sh, -c, '{script}'], timeout: 500ms, streaming: {streaming}")
    assert caught.value.kind == "timeout_total"
    assert caught.value.sentence == "`sh` took longer than 0.5 s (timeout) and was stopped"
    pid = int((tmp_path / "pids").read_text(encoding="utf-8"))
    until(lambda: not lives(pid))


def test_a_run_that_is_stopped_leaves_nothing_running(tmp_path: Path) -> None:
    workflow = load(
        tmp_path, "command: [sh, -c, 'trap \"\" TERM INT; sleep 600 & echo $! $$ > pid; mv pid pids; wait']"
    )
    started = workflow.start({})
    until((tmp_path / "pids").exists)
    started.cancel()
    started.wait()
    pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    until(lambda: not any(map(lives, pids)))
    assert started.output is None


def test_a_run_that_is_stopped_while_the_program_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio waits for the pipes of a program that runs by then."""
    stopped = threading.Event()
    connect = BaseSubprocessTransport._connect_pipes  # type: ignore[attr-defined]

    async def late(*given: Any) -> None:
        while not stopped.is_set():
            await asyncio.sleep(0.01)
        await connect(*given)

    monkeypatch.setattr(BaseSubprocessTransport, "_connect_pipes", late)
    started = load(tmp_path, "command: [sh, -c, 'sleep 600 & echo $! $$ > pid; mv pid pids; wait']").start({})
    until((tmp_path / "pids").exists)
    started.cancel()
    stopped.set()
    started.wait()
    pids = [int(word) for word in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    until(lambda: not any(map(lives, pids)))


def test_a_reader_that_goes_away_ends_the_program(tmp_path: Path) -> None:
    """`yes` writes for ever; what nobody reads it cannot write, and when nobody can read any more it ends."""
    started = load(tmp_path, "command: [sh, -c, 'echo $$ > pid; exec yes'], streaming: true").start({})
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="utf-8"))
    started.cancel()
    started.wait()
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    until(lambda: not lives(pid))


def test_too_much_output_ends_the_program(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        run(tmp_path, "command: ['yes']")
    assert (caught.value.kind, caught.value.sentence) == ("too_large", "`yes` wrote more than 8 MiB and was stopped")
    with pytest.raises(RunError) as caught:
        run(tmp_path, "command: [tr, '\\0', 'x'], stdin: '${input.x}', streaming: true", x=bytes(9 * 2**20))
    assert caught.value.kind == "too_large"


def test_what_a_program_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    done = run(tmp_path, "command: [sh, -c, 'while [ -e wait ]; do sleep 0.05; done & echo started']")
    (tmp_path / "wait").unlink()
    assert done.output == {"stdout": "started", "stderr": "", "exit_code": 0}


def test_programs_run_side_by_side(tmp_path: Path) -> None:
    """Each of two waits for the other's file."""
    workflow = load(
        tmp_path,
        "command: [sh, -c, 'touch $0; until [ -e $1 ]; do sleep 0.01; done', '${input.a}', '${input.b}'], timeout: 60",
    )

    async def both() -> list[Any]:
        return await asyncio.gather(workflow.arun(a="x", b="y"), workflow.arun(a="y", b="x"))

    assert [one.output["exit_code"] for one in asyncio.run(both())] == [0, 0]


def test_nothing_is_left_in_this_process(tmp_path: Path) -> None:
    run(tmp_path, "command: ['true']")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        run(tmp_path, "command: [cat], stdin: x")
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("waitpid")])


# -- what cannot be ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("command: [no-such-program-here]", "there is no program `no-such-program-here` on this computer"),
        ("command: [./model-compose.yml]", "`./model-compose.yml` cannot be started: permission denied"),
        ("command: [pwd], working_dir: model-compose.yml", None),
        ("command: [echo, '${input.none}']", "`command` has empty where a text belongs"),
        ("command: [echo, '${input.object}']", "`command` has a mapping where a text belongs"),
        ("command: [echo, '${input.zero}']", "`command` has a null character, which no program can be given"),
        ("command: '${input.none}'", "`command` is null: there is nothing to run"),
        ("command: '${input.text}'", '`command` is a list of words, not one text: write ["ls", "-l"]'),
        ("command: [pwd], timeout: '${input.text}'", '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "ls -l"'),
        ("command: [pwd], env: {'a=b': 1}", "`pwd` cannot be started: illegal environment variable name"),
        (r"""command: [pwd], env: {"a\0": 1}""", "`env` has a null character, which no program can be given"),
        ("command: [pwd], env: '${input.text}'", '`env` is a mapping, not "ls -l"'),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_sentence(tmp_path: Path, settings: str, sentence: str | None) -> None:
    with pytest.raises(RunError) as caught:
        run(tmp_path, settings, none=None, object={"a": 1}, zero="a\0b", text="ls -l")
    if sentence is None:
        sentence = f"there is no folder `{tmp_path.resolve() / 'model-compose.yml'}` to run the command in"
    assert caught.value.sentence == sentence


def test_a_name_too_long_for_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        run(tmp_path, "command: [pwd], working_dir: '${input.long}'", long="x" * 5000)


def test_a_number_may_name_a_variable(tmp_path: Path) -> None:
    assert "1=one" in stdout(tmp_path, "command: [env], env: {1: one}").splitlines()


@pytest.mark.parametrize(
    ("yaml", "sentences"),
    [
        ("action: {}", ["a shell action needs `command`"]),
        ("action: {command: ls -la}", ['`command` is a list of words, not one text: write ["ls", "-la"]']),
        ("action: {command: []}", ["`command` is a list of words, or a list of such lists, not a list"]),
        ("action: {command: [[ls], []]}", ["`command` is a list of words, or a list of such lists, not a list"]),
        ("action: {command: [ls, null]}", ["`command` has empty where a text belongs"]),
        ("action: {command: [ls], timeout: 0}", ["`timeout` is more than 0 seconds"]),
        ("action: {command: [ls], timout: 5}", ["unknown key `timout` in a shell action; did you mean `timeout`?"]),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(yaml: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: shell, {yaml}}}") == sentences


def test_the_example_of_the_docstring_runs() -> None:
    assert composemagic.load(example(shell))(text="one two three").output == 3


def test_the_docstring_names_every_setting() -> None:
    own = {*ShellAction.model_fields, *ShellSettings.model_fields} - {"batch_size", "manage"}
    assert documented(shell) == own - {"base_dir"}
