"""A run in a terminal: `composemagic run`, `validate` and `quickstart`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.errors import ComposeError, DocumentError, RunError, UsageError
from composemagic.text import plain

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run

__all__ = ["main"]

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_INPUT_HINT = "Give it with --input '{\"NAME\": ...}'"
_NEXT = """
What next:
  composemagic run -f FILE.yml --input '{"prompt": "..."}' --local     your own YAML, on the embedded model
  composemagic quickstart --lab                                       the same in a notebook
  OPENAI_API_KEY=... in a .env file, without --local                  the model the YAML names"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 1 failed or incomplete, 2 used wrongly, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except KeyboardInterrupt:
        _say("stopped")
        status = _INTERRUPTED
    except UsageError as error:
        _say(str(error))
        status = _USAGE
    except ComposeError as error:
        _say(str(error))
        status = _FAILED
    except BrokenPipeError:
        # the reader (`| head`) has gone; Python must not complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="composemagic", description="Run AI workflows written in YAML.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a workflow and stream its output")
    run.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="which workflow, where the file has several")
    run.add_argument("-i", "--input", metavar="JSON", help="the inputs as a JSON object; - reads them from stdin")
    run.add_argument("--local", action="store_true", help="send OpenAI-style requests to the embedded model; no key needed")
    run.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the output to FILE as well")
    run.set_defaults(command=_run)
    validate = commands.add_parser("validate", help="look for mistakes without running")
    validate.set_defaults(command=_validate)
    for command in (run, validate):
        command.add_argument("-f", "--file", metavar="FILE", type=Path, help="the YAML (default: model-compose.yml or compose.yml here)")
        command.add_argument("-e", "--env", action="append", default=[], metavar="KEY=VALUE", help="an environment variable")
        command.add_argument("--env-file", action="append", default=[], metavar="FILE", help="read variables from FILE instead of .env")
    quickstart = commands.add_parser("quickstart", help="stream an answer from the embedded model, here and now")
    quickstart.add_argument("prompt", nargs="?", help="what to ask")
    quickstart.add_argument("--lab", action="store_true", help="open JupyterLab on the first notebook")
    quickstart.set_defaults(command=_quickstart)
    return parser


# -- commands --------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    workflow = _loaded(options, options.workflow)
    value = _input(options.input)
    if isinstance(value, dict):
        workflow.check(value, hint=_INPUT_HINT)
    return _show(workflow.start(value, local=options.local), options.output)


def _validate(options: argparse.Namespace) -> int:
    from composemagic.api import load_all

    file = _file(options.file)
    for workflow in load_all(file, env=_pairs(options.env), env_files=options.env_file):
        print(f"{file}: no mistakes in {plain(workflow.title)}")
        for one in workflow.inputs:
            print(f"  {one.name}: {one.type}{', required' if one.required else ''}")
        for line in (*workflow.notes, *(f"not set: ${name}" for name in workflow.unset_variables())):
            print(f"  {plain(line)}")
    return 0


def _quickstart(options: argparse.Namespace) -> int:
    if options.lab:
        return _lab()
    from composemagic.api import load

    workflow = load(Path(__file__).with_name("quickstart.yml"), local=True)
    prompt = options.prompt or workflow.inputs[0].default
    print(f"> {prompt}\n")
    status = _show(workflow.start({"prompt": prompt}), None)
    print(_NEXT, file=sys.stderr)
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
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


# -- steps -------------------------------------------------------------------------------------------------------------


def _loaded(options: argparse.Namespace, name: str | None) -> Workflow:
    from composemagic.api import load

    return load(_file(options.file), name, env=_pairs(options.env), env_files=options.env_file)


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
            raise UsageError(f"`-e {item}` is written `-e KEY=VALUE`")
        pairs[key] = value
    return pairs


def _input(text: str | None) -> Any:
    if text is None:
        return {}
    if text == "-":
        text = sys.stdin.read()
    try:
        return json.loads(text)
    except ValueError as error:
        at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"--input is no JSON{at}: {text[:80]}. Write it as --input '{{\"prompt\": \"...\"}}'") from None


def _show(run: Run, output: Path | None) -> int:
    """Print what the run gives as it comes, its notes and its end on stderr; gives the exit status."""
    try:
        _print(run)
    except KeyboardInterrupt:
        run.cancel()
        run.wait(2.0)
        _finish(run, output)
        _say(f"compose: stopped; {len(run.text)} characters are kept")
        return _INTERRUPTED
    _finish(run, output)
    if run.error is not None:
        _say(_told(run.error))
        return _FAILED
    return 0


def _print(run: Run) -> None:
    from composemagic.engine.events import Delta, Notice, RunFinished

    wrote, ends_line = False, True
    to_people = sys.stdout.isatty()
    for event in run:
        match event:
            case Notice(sentence):
                _say(sentence)
            case Delta(value):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                if run.encoding == "json" or not isinstance(value, str):
                    text += "\n"
                # a terminal obeys what it is sent; a pipe or a file gets the text as it is
                text = plain(text) if to_people else text
                sys.stdout.write(text)
                sys.stdout.flush()
                wrote, ends_line = True, text.endswith("\n") if text else ends_line
            case RunFinished(value) if not wrote and value is not None:
                sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    if not ends_line:
        sys.stdout.write("\n")
    sys.stdout.flush()


def _finish(run: Run, output: Path | None) -> None:
    from composemagic.engine.summary import summary

    if output is not None:
        value = run.output
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n"
        output.write_text("" if value is None else text, encoding="utf-8")
    if sys.stdout.isatty() or run.is_local:
        _say(summary(run))


def _told(error: RunError | DocumentError) -> str:
    return str(error)


def _say(line: str) -> None:
    print(plain(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
