"""The process that is Voilà: reads its settings from stdin, and ends when stdin ends.

A script of its own, run by path: it imports Voilà and nothing of composemagic. So a token stands on no command line, and
Voilà with its kernels does not outlive who started it, however that ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

# the page of Voilà would fetch its icons from a CDN, and has them anyway; its scripts stand in the page and compile templates
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)


def main() -> None:
    """Serve the notebook that the first line of stdin names until stdin ends."""
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for who started it, who then ends stdin

    # by name: nothing else of the server's floor knows them
    voila, config = importlib.import_module("voila.app"), importlib.import_module("traitlets.config")
    voila.Voila.launch_instance([given["notebook"]], config=config.Config(_settings(given)))


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    voila = {
        "ip": given["host"],
        "port": given["port"],
        "port_retries": 0,
        "open_browser": False,
        "config_file_paths": [],  # none of the folder it was started in
        "log_level": "ERROR",
        # Voilà itself lets every page of every site ask; this is Jupyter's guard against names that change their address
        "tornado_settings": {
            "allow_remote_access": given["is_open"],
            "local_hostnames": ["localhost"],
            "headers": {"Content-Security-Policy": _POLICY},
        },
    }
    if given["token"]:
        voila["token"] = given["token"]
    return {
        "Voila": voila,
        "VoilaConfiguration": {
            "strip_sources": True,
            "show_tracebacks": False,
            "allow_template_override": "NO",
            "allow_theme_override": "NO",
            "file_allowlist": ["(?!)"],  # no file of the folder
            "extension_allowlist": ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"],
            "theme": given["theme"],
        },
        "MappingKernelManager": {
            # every visitor has a kernel, which ends with the page; this is for pages that went without a word
            "cull_idle_timeout": 900,
            "cull_interval": 60,
        },
    }


if __name__ == "__main__":
    main()
