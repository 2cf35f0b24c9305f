"""`composemagic up --ui voila`: the notebook's forms as a web page, by Voilà in a process of its own.

Every visitor has a kernel. Voilà's page runs no code but ours: it takes clicks and what is typed, and no cells.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from composemagic.api import Workflow, examine, load
from composemagic.errors import ComposeError, UsageError
from composemagic.transport.address import is_loopback
from composemagic.words import language, say

__all__ = ["PORT", "Voila", "page"]

PORT = 8081
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_CELL = "from composemagic.server.voila import page\n\npage({files!r}, env_files={env_files!r}, local={local!r})"

Files = Sequence[str | os.PathLike[str]]


class Voila:
    """Voilà on the forms of some files' workflows, as a context: `with Voila(["chat.yml"]) as served: served.url`.

    `env` goes before the process's environment; `port` 0 is any that is free. A `host` that others can reach needs a
    `token`. `theme` is "light" or "dark". Raises UsageError, and DocumentError for mistakes in the files.
    """

    def __init__(
        self,
        files: Files,
        *,
        host: str = "127.0.0.1",
        port: int = PORT,
        env: Mapping[str, str] | None = None,
        env_files: Files = (),
        local: bool = False,
        token: str | None = None,
        theme: str = "light",
    ) -> None:
        if find_spec("voila") is None:
            raise UsageError(say('`--ui voila` needs Voilà: pip install "composemagic[ui]"'))
        if not is_loopback(host) and not token:
            raise UsageError(say("`{host}` can be reached by others: give a `--token`, too", host=host))
        self._cell = _CELL.format(files=_absolute(files), env_files=_absolute(env_files), local=local)
        self.titles = tuple(one.title for one in _workflows(files, env=env, env_files=env_files))
        self._env = {**os.environ, **(env or {}), "LANGUAGE": language()}
        self._settings: dict[str, Any] = {"host": host, "port": port, "token": token or "", "theme": theme}
        self._settings["is_open"] = not is_loopback(host)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its address, without the token."""
        host = self._settings["host"]
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings['port']}/"

    def __enter__(self) -> Voila:
        self._settings["port"] = _free(self._settings["host"], self._settings["port"])
        self._folder = tempfile.TemporaryDirectory(prefix="composemagic-voila-")
        notebook = Path(self._folder.name) / "workflow.ipynb"
        notebook.write_text(json.dumps(_notebook(self._cell)), encoding="utf-8")
        try:
            self._start(notebook)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End Voilà and its kernels; once more is no error."""
        process, folder = self._process, self._folder
        self._process = self._folder = None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()
        if folder is not None:
            folder.cleanup()

    def _start(self, notebook: Path) -> None:
        child = Path(__file__).with_name("voila_child.py")
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", str(child)], env=self._env, stdin=subprocess.PIPE, text=True, cwd=notebook.parent
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**self._settings, "notebook": str(notebook)}) + "\n")
        process.stdin.flush()
        end = time.monotonic() + _START_SECONDS
        while not self._listens():
            if process.poll() is not None or time.monotonic() > end:
                raise UsageError(say("Voilà did not start; what it said stands above"))
            time.sleep(0.05)  # between two looks

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self._settings["host"], self._settings["port"]), timeout=1):
                return True
        except OSError:
            return False


def page(files: Files, *, env_files: Files = (), local: bool = False) -> None:
    """Show the forms of some files' workflows; what the notebook of the page says. Mistakes are printed."""
    from composemagic.notebook.form import Form
    from composemagic.notebook.forms import Forms

    try:
        found = _workflows(files, env_files=env_files, local=local)
    except ComposeError as error:
        print(error)
        return
    (Form(found[0]) if len(found) == 1 else Forms(found)).show()


def _workflows(
    files: Files, *, env: Mapping[str, str] | None = None, env_files: Files = (), local: bool = False
) -> list[Workflow]:
    """The workflows of some files over each other that people may run. Raises UsageError and DocumentError."""
    sources, others = _absolute(files), _absolute(env_files)
    names = [name for name, plan in examine(sources, env=env, env_files=others)[0].plans.items() if not plan.is_private]
    if not names:
        raise UsageError(say("there is no workflow to make a form for"))
    return [load(sources, name, env=env, env_files=others, local=local) for name in names]


def _absolute(files: Files) -> list[str]:
    return [str(Path(file).resolve()) for file in files]


def _free(host: str, port: int) -> int:
    """The port, after a look whether it can be had. Raises UsageError."""
    from composemagic.server.ports import bound

    with bound(host, port) as listener:
        found: int = listener.getsockname()[1]
    return found


def _notebook(cell: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"metadata": {}, "execution_count": None, "outputs": []}
    return {
        "cells": [{"id": "forms", "cell_type": "code", "source": cell, **empty}],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
