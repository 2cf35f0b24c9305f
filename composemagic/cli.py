"""A run in a terminal: `composemagic run`, `validate` and `quickstart`."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from composemagic.errors import ComposeError, InputError, UsageError, suggest
from composemagic.text import Cleaner, plain

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.events import Delta
    from composemagic.engine.run import Run
    from composemagic.workflow.inputs import Input

__all__ = ["main"]

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_STOP_SECONDS = 2.0
_QUICKSTART = Path(__file__).with_name("quickstart.yml")
_PLAINER = str.maketrans({"✓": "*", "■": "*", "✗": "*", "·": "-", "…": "..."})
_NEXT = """
What next:
  composemagic quickstart "What is a prime number?"    ask something else
  composemagic quickstart --lab                        the same in a notebook
  composemagic run -f {file} --local
                                                       the YAML that just ran
  composemagic run --help                              your own YAML, other models"""
_EXAMPLE = """example:
  composemagic run -f chat.yml --input '{"prompt": "Hello"}' --local

The output goes to stdout as it comes, notes and errors to stderr. Ctrl-C stops the run and keeps its text.
Exit status: 0 done, 1 failed or incomplete, 2 used wrongly, 130 stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 1 failed or incomplete, 2 used wrongly.

    A command that is interrupted ends the process here, with 130: no thread that waits for a name server or a download
    may hold the terminal.
    """
    _open_missing()
    _fit(sys.stdout)
    try:
        status = _command(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("■ stopped")
        status = _INTERRUPTED
    except (UsageError, InputError) as error:
        _say(str(error))
        status = _USAGE
    except ComposeError as error:
        _say(str(error))
        status = _FAILED
    except OSError as error:
        if not _is_reader_gone(error):
            what = f"`{error.filename}`" if error.filename else "the output"
            _say(f"compose: {what} cannot be written: {(error.strerror or str(error)).lower()}")
        # or Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _FAILED
    if status == _INTERRUPTED:
        _leave(status)
    return status


def _command(arguments: list[str]) -> int:
    options = _options(arguments)
    status: int = options.command(options)
    return status


# -- the command line --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong command line as the sentence of a UsageError."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser, commands = _parsers()
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in commands:
        near = suggest(command, commands) or f"; there is {', '.join(f'`{name}`' for name in commands)}"
        raise UsageError(f"there is no command `{command}`{near}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        shown = commands[command] if command else parser
        if Path(unknown[0]).suffix in (".yml", ".yaml"):
            raise UsageError(f"for a file write `{shown.prog} -f {unknown[0]}`")
        if command == "quickstart" and not unknown[0].startswith("-"):
            raise UsageError(
                'a question of several words stands in quotes, as in composemagic quickstart "What is a dog?"'
            )
        near = suggest(unknown[0], re.findall(r"--[a-z-]+", shown.format_help())) or f"; see `{shown.prog} --help`"
        raise UsageError(f"`{unknown[0]}` is not an option or argument of `{shown.prog}`{near}")
    return options


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    from composemagic import __version__

    parser = _Parser(prog="composemagic", description="Run AI workflows written in YAML.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"composemagic {__version__}")
    parser.set_defaults(command=lambda _: _help(parser))
    found = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, example: str = "") -> _Parser:
        raw = argparse.RawDescriptionHelpFormatter
        made: _Parser = found.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=example,
            formatter_class=raw,
            allow_abbrev=False,
        )
        made.set_defaults(command=command)
        return made

    run = add("run", _run, "run a workflow and stream its output", _EXAMPLE)
    _add_run_options(run)
    validate = add("validate", _validate, "look for mistakes in a YAML file without running it")
    for command in (run, validate):
        _add_file_options(command)
    quickstart = add("quickstart", _quickstart, "stream an answer from the embedded model, here and now; no key needed")
    quickstart.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to ask")
    quickstart.add_argument("--lab", action="store_true", help="open JupyterLab on the first notebook instead")
    return parser, {"run": run, "validate": validate, "quickstart": quickstart}


def _add_run_options(command: _Parser) -> None:
    add = command.add_argument
    add("workflow", nargs="?", metavar="WORKFLOW", help="which workflow, where the file has several")
    add("-i", "--input", metavar="JSON", help="the inputs as a JSON object; - reads them from stdin")
    add("--local", action="store_true", help="send OpenAI-style requests to the embedded model; no key needed")
    add("-o", "--output", metavar="FILE", type=Path, help="write the output to FILE as well, in UTF-8")


def _add_file_options(command: _Parser) -> None:
    add = command.add_argument
    add("-f", "--file", metavar="FILE", type=Path, help="the YAML (else model-compose.yml or compose.yml here)")
    add("-e", "--env", action="append", default=[], metavar="KEY=VALUE", help="a variable for ${env.KEY}")
    add("--env-file", action="append", default=[], metavar="FILE", help="read variables from FILE instead of .env")


def _help(parser: _Parser) -> int:
    parser.print_help()
    return 0


def _file(given: Path | None) -> Path:
    from composemagic.api import DEFAULT_FILES

    if given is not None:
        return given
    for name in DEFAULT_FILES:
        if Path(name).is_file():
            return Path(name)
    raise UsageError(f"there is no {' or '.join(DEFAULT_FILES[::2])} in this folder; name the file with -f FILE")


def _pairs(items: list[str]) -> dict[str, str]:
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            # what stands there may be a key's value
            raise UsageError("-e is written `-e KEY=VALUE`")
        pairs[key] = value
    return pairs


# -- commands ----------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from composemagic.api import load

    if options.file is None and Path(options.workflow or "").suffix in (".yml", ".yaml"):
        raise UsageError(f"WORKFLOW is a workflow's id; for a file write `-f {options.workflow}`")
    workflow = load(_file(options.file), options.workflow, env=_pairs(options.env), env_files=options.env_file)
    value = _input(options.input, workflow.inputs)
    if isinstance(value, dict):
        _check(workflow, value)
    _refuse_unwritable(options.output)
    if options.local:
        _ready_model()
    return _show(workflow, value, options.local, options.output)


def _validate(options: argparse.Namespace) -> int:
    from composemagic.api import load_all

    file = _file(options.file)
    for workflow in load_all(file, env=_pairs(options.env), env_files=options.env_file):
        print(f"{file}: no mistakes in {plain(workflow.title)}")
        for one in workflow.inputs:
            print(f"  {_asked(one)}")
        for line in (*workflow.notes, *(f"not set: ${name}" for name in workflow.unset_variables())):
            print(f"  {plain(line)}")
    return 0


def _asked(one: Input) -> str:
    default = f" = {json.dumps(one.default, ensure_ascii=False, default=str)}" if one.has_default else ""
    return f"{one.name or 'the whole input'}: {one.type}{', required' if one.required else default}"


def _quickstart(options: argparse.Namespace) -> int:
    if options.lab:
        return _lab()
    from composemagic.api import load

    workflow = load(_QUICKSTART, local=True)
    prompt = options.prompt or workflow.inputs[0].default
    _ready_model()
    _say(f"> {prompt}\n")
    status = _show(workflow, {"prompt": prompt}, True, None)
    if status == 0:
        _say(_NEXT.format(file=shlex.quote(str(_QUICKSTART))))
    return status


def _lab() -> int:
    """Open JupyterLab on the first notebook: the clone's, else a copy of the one that was installed."""
    from importlib.util import find_spec

    if find_spec("jupyterlab") is None:
        raise UsageError('JupyterLab is not installed: `pip install "composemagic[notebook]"`')
    clone = Path(__file__).parent.parent / "notebooks" / "00-hello.ipynb"
    notebook = clone if clone.is_file() else Path.cwd() / "00-hello.ipynb"
    if not notebook.is_file():
        notebook.write_bytes(Path(__file__).with_name("00-hello.ipynb").read_bytes())
    # Ctrl-C is JupyterLab's: it asks and ends by itself. Not SIG_IGN, which its kernels would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


# -- inputs ------------------------------------------------------------------------------------------------------------


def _input(text: str | None, inputs: Sequence[Input]) -> Any:
    """The input's value. Raises UsageError for what is no JSON, or no object where the workflow asks for names."""
    if text is None:
        return {}
    try:
        # JSON is UTF-8 whatever the terminal's encoding is
        value = json.loads(sys.stdin.buffer.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        at = f" (character {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else ""
        what = f"stdin is not JSON{at}" if text == "-" else f"--input is not JSON{at}: {text[:80]}"
        raise UsageError(f"{what}\nWrite it as {_example(inputs)}") from None
    if not isinstance(value, dict) and any(one.name for one in inputs):
        raise UsageError(f"--input is not a JSON object; this workflow asks for names. Write it as {_example(inputs)}")
    return value


def _check(workflow: Workflow, value: dict[str, Any]) -> None:
    """Raise InputError for what is missing, does not fit or has a typo in its name."""
    try:
        workflow.check(value)
    except InputError as error:
        is_missing = any(problem.endswith("is missing") for problem in error.problems.values())
        hint = f"Write it as {_example(workflow.inputs)}" if is_missing else ""
        raise InputError(error.problems, hint=hint) from None


def _example(inputs: Sequence[Input]) -> str:
    """How --input is written for these inputs, quoted for the user's shell."""
    value: dict[str, Any] = {}
    for one in [one for one in inputs if one.required and one.name] or inputs[:1]:
        place = value
        *parents, name = (one.name or "NAME").split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        if name not in place:
            place[name] = {"number": 0, "integer": 0, "boolean": True}.get(one.type, "...")
    text = json.dumps(value, ensure_ascii=False)
    return f"--input {subprocess.list2cmdline([text])}" if sys.platform == "win32" else f"--input '{text}'"


def _refuse_unwritable(output: Path | None) -> None:
    """An output file that cannot be written must be found before a run is paid for, not after."""
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"-o names a folder, `{output}`; name a file in it")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder `{output.parent}`")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise UsageError(f"-o {output}: permission denied")


# -- showing -----------------------------------------------------------------------------------------------------------


class _Screen:
    """The output on stdout as it comes, all else on stderr. On a terminal each stands on lines of its own."""

    def __init__(self) -> None:
        # a terminal obeys what it is sent; a pipe or a file gets the text as it is
        self._cleaner = Cleaner() if sys.stdout.isatty() else None
        self._is_line_open = False

    @property
    def for_people(self) -> bool:
        return self._cleaner is not None

    def write(self, text: str) -> None:
        self._put(self._cleaner.add(text) if self._cleaner else text)

    def write_bytes(self, data: bytes) -> None:
        if self.for_people:
            self.say(f"{len(data)} bytes that are no text; write them to a file with -o FILE")
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()

    def say(self, line: str) -> None:
        self.end()
        _say(line)

    def end(self) -> None:
        """End the line, where a person would see the next one begin in its middle."""
        if self._cleaner:
            self._put(self._cleaner.end())
            self._put("\n" if self._is_line_open else "")

    def _put(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._is_line_open = not text.endswith("\n")


def _show(workflow: Workflow, value: Any, local: bool, output: Path | None) -> int:
    """Start a run and print what it gives as it comes; gives the exit status. Ctrl-C ends the run as its end would."""
    from composemagic.engine.summary import summary

    screen = _Screen()
    run = workflow.start(value, local=local)
    try:
        with _interrupt_calls(run.cancel):
            _print(run, screen)
    finally:
        # whatever ended the printing - a reader that is gone, a second Ctrl-C - the text is kept
        run.cancel()
        run.wait(_STOP_SECONDS)
        _keep(run, output)
    screen.end()
    if screen.for_people or run.is_local or run.status == "stopped":
        _say(summary(run))
    if run.error is not None:
        _say(str(run.error))
    return {"done": 0, "stopped": _INTERRUPTED}.get(run.status, _FAILED)


def _print(run: Run, screen: _Screen) -> None:
    from composemagic.engine.events import Delta, Notice, RunFinished

    wrote = False
    for event in run:
        match event:
            case Notice():
                screen.say(str(event))
            case Delta():
                screen.write(_as_text(run, event))
                wrote = True
            case RunFinished(bytes(data)):
                screen.write_bytes(data)
            case RunFinished(value) if not wrote:
                screen.write(_value_as_text(value))


def _as_text(run: Run, delta: Delta) -> str:
    value = delta.value
    if isinstance(value, str):
        return value + "\n" if run.encoding == "json" else value
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"


def _value_as_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n"


def _keep(run: Run, output: Path | None) -> None:
    """Write the file of -o, with what a pipe gets; a run that failed before it gave anything leaves the file alone."""
    from composemagic.engine.events import Delta

    deltas = [_as_text(run, event) for event in run.events if isinstance(event, Delta)]
    if output is None or (not deltas and run.status != "done"):
        return
    value = run.output
    data = value if isinstance(value, bytes) else ("".join(deltas) or _value_as_text(value)).encode("utf-8", "replace")
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UsageError(f"-o {output}: {(error.strerror or str(error)).lower()}") from None


def _ready_model() -> None:
    """Fetch and start the embedded model here, on the main thread, where an interrupt ends the download too."""
    from composemagic.local.serve import shared

    width = 0

    def progress(line: str) -> None:
        nonlocal width
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{plain(line).ljust(width)}")
            sys.stderr.flush()
            width = len(line)
        else:
            _say(line)

    try:
        shared(progress)
    finally:
        if width:
            _say("")


def _say(line: str) -> None:
    line = plain(line)
    try:
        line.encode(sys.stderr.encoding or "utf-8")
    except UnicodeEncodeError:
        line = line.translate(_PLAINER)
    # where nobody hears it, nobody can be told so
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


# -- the process -------------------------------------------------------------------------------------------------------


def _open_missing() -> None:
    """A program that is started with a closed stream (`>&-`, pythonw) has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - it stays open


def _fit(stream: Any) -> None:
    """No character may end a run: what the encoding lacks is escaped. Line ends in a file stay as they are."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", newline=None if stream.isatty() else "\n")


@contextmanager
def _interrupt_calls(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C within the block calls `stop`, which cuts nothing off in its middle; the next one interrupts."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.SIG_IGN:
        # started in the background of a script: an interrupt is meant for others
        yield
        return

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _is_reader_gone(error: OSError) -> bool:
    """Whether nobody reads stdout any more (`| head`); Windows calls it an invalid argument."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == 22)


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
