"""`composemagic quickstart`: an answer from the embedded model, here and now."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from composemagic.cli.options import Commands
from composemagic.cli.run import show
from composemagic.cli.terminal import ready_model, tell
from composemagic.errors import UsageError
from composemagic.words import say

__all__ = ["add"]

_PACKAGE = Path(__file__).parent.parent
_YAML = _PACKAGE / "quickstart.yml"
_NOTEBOOK = "00-hello.ipynb"


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = say("stream an answer from the embedded model, here and now; no key needed")
    command = commands.add("quickstart", _quickstart, text)
    command.add_argument("prompt", nargs="?", metavar=say("PROMPT"), help=say("what to ask"))
    command.add_argument("--lab", action="store_true", help=say("open JupyterLab on the first notebook instead"))


def _quickstart(options: argparse.Namespace) -> int:
    if options.lab:
        return _lab()
    from composemagic.api import load

    workflow = load(_YAML, local=True)
    prompt = options.prompt or workflow.inputs[0].default
    ready_model()
    tell(f"> {prompt}\n")
    status = show(partial(workflow.start, {"prompt": prompt}))
    if status == 0:
        tell(_next())
    return status


def _next() -> str:
    return say(
        """
What next:
  composemagic quickstart "What is a prime number?"    ask something else
  composemagic quickstart --lab                        the same in a notebook
  composemagic run -f {file} --local
                                                       the YAML that just ran
  composemagic run --help                              your own YAML, other models""",
        file=shlex.quote(str(_YAML)),
    )


def _lab() -> int:
    """Open JupyterLab on the first notebook: the clone's, else a copy of the one that was installed."""
    from importlib.util import find_spec

    if find_spec("jupyterlab") is None:
        raise UsageError(say('JupyterLab is not installed: `pip install "composemagic[notebook]"`'))
    clone = _PACKAGE.parent / "notebooks" / _NOTEBOOK
    notebook = clone if clone.is_file() else Path.cwd() / _NOTEBOOK
    if not notebook.is_file():
        notebook.write_bytes((_PACKAGE / _NOTEBOOK).read_bytes())
    words = [sys.executable, "-m", "jupyterlab", *_as_root(), str(notebook)]
    if os.name == "posix":
        os.execv(words[0], words)  # what ends this process, as a closed terminal, is to end JupyterLab
    # Ctrl-C is JupyterLab's: it asks and ends by itself. Not SIG_IGN, which its kernels would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    return subprocess.call(words)


def _as_root() -> list[str]:
    """What JupyterLab wants to hear from who is root, as people in containers are."""
    return ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
