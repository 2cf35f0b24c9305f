"""A real JupyterLab in a real headless Chromium, driven with Playwright's synchronous API.

    with Lab() as lab:
        lab.open(["print('hello')"])
        lab.run(0)
        assert lab.dom_text(0) == "hello"

Nothing sleeps to synchronise: every wait is for a condition in the page, with a limit in seconds and words for what was
awaited. The server has folders of its own, so that the user's settings neither matter nor change. Playwright's synchronous
API does not work in a thread that runs an asyncio loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Playwright,
    sync_playwright,
)

from tests.conftest import free_port

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = os.environ.get("COMPOSEMAGIC_CHROMIUM", "/usr/bin/chromium")

Notebook = dict[str, Any]

_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Only what a test asks for is saved.
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    # Lab would leave cells outside the window without a node.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
_CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_PANEL = "window.jupyterapp.shell.currentWidget"
_CELL = f"{_PANEL}.content.widgets[index]"
# Without the prompts that stand beside results.
_TEXT = f"""[...{_CELL}.outputArea.node.children]
    .map((child) => child.querySelector('.jp-OutputArea-output')?.innerText ?? '').join('\\n')"""


class Lab:
    """A JupyterLab server, a browser, and the notebook that is open in it.

    `environ` is added to the environment of the server and thereby of its kernels. `packages` is put on the kernels'
    PYTHONPATH and is this checkout unless told otherwise.
    """

    _module, _app, _path = "jupyterlab", "LabApp", "lab/tree"

    def __init__(self, environ: Mapping[str, str] | None = None, *, packages: Path = ROOT) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="composemagic-lab-"))
        self.work = self.folder / "work"
        self.work.mkdir()
        self.console: list[tuple[str, str]] = []
        """What the open page wrote to its console: (kind, text)."""
        self._environ = {**os.environ, **self._folders(), "PYTHONPATH": str(packages), **(environ or {})}
        self._page: Page | None = None
        self._name = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def __enter__(self) -> Self:
        try:
            self._start_server()
            self._start_browser()  # while the server starts
            self._await_server(120)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End browser, kernels and server, and remove the folders; what is gone already is no error."""
        with contextlib.suppress(Error):
            if self._browser:
                self._browser.close()
        if self._playwright:
            self._playwright.stop()
        if self._server:
            self._stop_server(self._server)
        self._browser = self._playwright = self._server = self._page = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- notebooks

    def open(self, cells: Sequence[str | Mapping[str, Any]], name: str | None = None) -> Page:
        """Write a notebook of code cells (or of whole cells as nbformat has them), open it, and wait for its kernel.

        The notebook that was open is closed and its kernel ended.
        """
        self.shut()
        self._name = name or f"{uuid.uuid4().hex[:8]}.ipynb"
        (self.work / self._name).write_text(json.dumps(_notebook(cells)))
        return self._show()

    def _show(self) -> Page:
        self._page = self._context.new_page()
        self.console = []
        self._page.on("console", self._heard)
        self._page.goto(f"{self.url}/{self._path}/{self._name}?reset", timeout=120_000)
        status = f"window.jupyterapp && {_PANEL}?.context?.sessionContext?.session?.kernel?.status"
        self.wait_for(
            f"() => ({status}) === 'idle' && {_PANEL}.content.widgets.length > 0", "the notebook's kernel", 120
        )
        return self._page

    def shut(self) -> None:
        """Close the page and end its kernel, if one is open."""
        if self._page:
            self._page.close()
            self._page = None
        for session in json.loads(self._request("/api/sessions")):
            self._request(f"/api/sessions/{session['id']}", "DELETE")

    def reopen(self) -> Page:
        """Open the notebook as it was saved again, with a new kernel, and wait for that."""
        self.shut()
        return self._show()

    def save(self) -> Notebook:
        """Save through Lab and read the file."""
        self.command("docmanager:save")
        self.wait_for(f"() => !{_PANEL}.context.model.dirty", "the notebook to be saved")
        saved: Notebook = json.loads((self.work / self._name).read_text())
        return saved

    # -- cells

    def run(self, index: int, wait: bool = True, timeout: float = 60) -> None:
        """Run a cell, counted from 0, and wait until it is done (seconds)."""
        self._mark_idle([index])
        self.eval(
            f"([index]) => {{ {_PANEL}.content.activeCellIndex = index; {_PANEL}.content.deselectAll(); }}", [index]
        )
        self._launch("notebook:run-cell")
        if wait:
            self.wait_done(index, timeout)

    def run_all(self, wait: bool = True, timeout: float = 60) -> None:
        """Run all cells as the menu does, and wait until the last is done (seconds)."""
        cells = self.eval(f"() => {_PANEL}.content.widgets.flatMap((cell, i) => cell.model.type === 'code' ? [i] : [])")
        self._mark_idle(cells)
        self._launch("notebook:run-all-cells")
        for index in cells if wait else ():
            self.wait_done(index, timeout)

    def wait_done(self, index: int, timeout: float = 60) -> None:
        """Wait until a cell that was run is no longer queued or running (seconds)."""
        condition = f"([index]) => {_CELL}.composemagicRuns && {_CELL}.model.executionState === 'idle'"
        self.wait_for(condition, f"cell {index} to be done", timeout, [index])

    def wait_text(self, index: int, text: str, timeout: float = 30) -> None:
        """Wait until a cell's output shows a text (seconds)."""
        condition = f"([index, text]) => {_TEXT}.includes(text)"
        self.wait_for(condition, f"{text!r} in the output of cell {index}", timeout, [index, text])

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """A cell's outputs as they would be saved."""
        found: list[dict[str, Any]] = self.eval(f"([index]) => {_CELL}.model.outputs.toJSON()", [index])
        return found

    def dom_text(self, index: int) -> str:
        """What a reader sees as a cell's output."""
        return str(self.eval(f"([index]) => {_TEXT}", [index])).strip()

    def dom_html(self, index: int) -> str:
        """A cell's output as the page has it."""
        return str(self.eval(f"([index]) => {_CELL}.outputArea.node.innerHTML", [index]))

    def click(self, index: int, button: str, timeout: float = 30) -> None:
        """Click the button with this text in a cell's output, waiting until it can be clicked (seconds)."""
        # not by its role's name: an icon's character counts as a part of that
        text = re.compile(rf"^\s*{re.escape(button)}\s*$")
        self._output(index).locator("button:visible").filter(has_text=text).first.click(timeout=timeout * 1000)

    def fill(self, index: int, label: str, value: str, timeout: float = 30) -> None:
        """Type into the ipywidgets field with this description in a cell's output (seconds)."""
        row = self._output(index).locator(".widget-inline-hbox", has=self.page.get_by_text(label, exact=True))
        field = row.locator("input, textarea").first
        field.fill(value, timeout=timeout * 1000)
        field.blur()  # a slider's or a number's value counts from here on

    # -- kernel

    def interrupt(self, how: str = "command") -> None:
        """Interrupt the kernel: by the menu's `command`, or by the `button` (■) in the notebook's toolbar."""
        if how == "command":
            self.command("notebook:interrupt-kernel")
        else:
            self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) [data-jp-item-name='interrupt']").click()

    def kernel_status(self) -> str:
        """`idle`, `busy`, ... as the page knows it."""
        return str(self.eval(f"() => {_PANEL}.context.sessionContext.session.kernel.status"))

    def slow(self, seconds: float) -> None:
        """From here on, what the kernel says comes so much later: as from a hub that is far away."""
        self.eval(
            f"""([delay]) => {{
                const socket = {_PANEL}.context.sessionContext.session.kernel._ws, heard = socket.onmessage;
                socket.onmessage = (message) => setTimeout(() => heard(message), delay);
            }}""",
            [seconds * 1000],
        )

    def without_subshells(self) -> None:
        """From here on, what widgets say goes to the kernel's main shell: as from front ends that know no other."""
        self.eval(f"() => {{ {_PANEL}.context.sessionContext.session.kernel.commsOverSubshells = 'disabled'; }}")

    def wait_status(self, status: str, timeout: float = 30) -> None:
        """Wait until the kernel is `idle` or `busy` (seconds)."""
        condition = f"([status]) => {_PANEL}.context.sessionContext.session.kernel.status === status"
        self.wait_for(condition, f"the kernel to be {status}", timeout, [status])

    # -- page

    @property
    def page(self) -> Page:
        """The open page, for what is not here; AssertionError if none is open."""
        assert self._page, "no notebook is open"
        return self._page

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def eval(self, script: str, argument: Any = None) -> Any:
        """What a JavaScript function in the page returns for an argument."""
        return self.page.evaluate(script, argument)

    def wait_for(self, condition: str, what: str, timeout: float = 30, argument: Any = None) -> None:
        """Wait until a JavaScript function in the page is true; AssertionError naming `what` after `timeout` seconds."""
        try:
            self.page.wait_for_function(condition, arg=argument, timeout=timeout * 1000)
        except Error as error:
            said = "".join(f"\n  {kind}: {text}" for kind, text in self.console[-10:])
            raise AssertionError(f"waited {timeout} s for {what}: {error.message}{said}") from error

    def command(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Execute a command of Lab and wait for its end."""
        script = "async ([name, arguments]) => { await window.jupyterapp.commands.execute(name, arguments); }"
        self.eval(script, [name, dict(arguments or {})])

    def screenshot(self, path: Path | str) -> Path:
        """The window as a PNG file."""
        self.page.screenshot(path=path)
        return Path(path)

    # -- inside

    def _output(self, index: int) -> Locator:
        cells = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
        return cells.nth(index).locator(".jp-Cell-outputWrapper")

    def _launch(self, name: str) -> None:
        """Execute a command of Lab that ends only when the cells do: do not wait."""
        self.eval("([name]) => { void window.jupyterapp.commands.execute(name); }", [name])

    def _mark_idle(self, indexes: Sequence[int]) -> None:
        """From here on a cell counts as run once its state has changed: before, `idle` would be the state it was in."""
        self.eval(
            f"""(indexes) => indexes.forEach((index) => {{
                const cell = {_CELL};
                cell.composemagicRuns = false;
                const heard = (model, change) => {{
                    if (change.name !== 'executionState' || change.newValue !== 'running') return;
                    cell.composemagicRuns = true;
                    model.stateChanged.disconnect(heard);
                }};
                cell.model.stateChanged.connect(heard);
            }})""",
            list(indexes),
        )

    def _heard(self, message: ConsoleMessage) -> None:
        self.console.append((message.type, message.text))

    def _folders(self) -> dict[str, str]:
        names = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        return {key: str(self.folder / name) for key, name in names.items()}

    def _start_server(self) -> None:
        self._port = free_port()
        for name, values in _SETTINGS.items():
            path = self.folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": str(self._port),
            "ServerApp.port_retries": "0",
            "ServerApp.open_browser": "False",
            "ServerApp.allow_root": "True",
            "ServerApp.root_dir": str(self.work),
            "IdentityProvider.token": "",
            "PasswordIdentityProvider.hashed_password": "",
            "ServerApp.disable_check_xsrf": "True",
            f"{self._app}.expose_app_in_browser": "True",
        }
        command = [sys.executable, "-m", self._module, *(f"--{key}={value}" for key, value in options.items())]
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                command, env=self._environ, stdout=log, stderr=log, cwd=self.work, start_new_session=True
            )

    def _await_server(self, timeout: float) -> None:
        assert self._server
        end = time.monotonic() + timeout
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > end:
                log = (self.folder / "server.log").read_text(errors="replace")[-4000:]
                raise AssertionError(f"JupyterLab did not start within {timeout} s:\n{log}")
            time.sleep(0.05)  # between two looks at the condition

    def _answers(self) -> bool:
        try:
            self._request("/api/status")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _start_browser(self) -> None:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=list(_CHROMIUM_OPTIONS))
        self._context: BrowserContext = self._browser.new_context(viewport={"width": 1280, "height": 900})

    def _stop_server(self, server: subprocess.Popen[bytes]) -> None:
        """Ask the server, which ends its kernels; then make sure of everything it started."""
        server.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # its group's number is its own: start_new_session
        server.wait()

    def _request(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: bytes = answer.read()
        return body


class Notebook7(Lab):
    """The same with Jupyter Notebook 7 in JupyterLab's place."""

    _module, _app, _path = "notebook", "JupyterNotebookApp", "notebooks"


def _notebook(cells: Sequence[str | Mapping[str, Any]]) -> Notebook:
    return {
        "cells": [_cell(cell) for cell in cells],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(cell: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(cell, str):
        return {"id": uuid.uuid4().hex[:8], "metadata": {}, **cell}
    empty: dict[str, Any] = {"metadata": {}, "execution_count": None, "outputs": []}
    return {"id": uuid.uuid4().hex[:8], "cell_type": "code", "source": cell, **empty}
