"""The process that holds the model: reads its settings from stdin, says its URL on stdout, ends when stdin ends.

A script of its own, run by path: it imports llama.cpp (`xllamacpp`) and the standard library, nothing of composemagic.
Not in the user's process, because llama.cpp's server, while a request is in flight, stops with the interpreter locked
(30 s and more, or for ever), crashes the interpreter that exits without stopping it, hangs a forked child at its exit,
and aborts the process when one of its assertions fails.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve the model that the first line of stdin describes until stdin ends."""
    answer = _own_stdout()
    settings = json.loads(sys.stdin.readline())
    try:
        server = _serve(settings)
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    else:
        said = {"url": server.listening_address}
    with answer:
        answer.write(json.dumps(said) + "\n")
    if "url" in said:
        sys.stdin.read()
    # no destructors: they wait for the requests in flight
    os._exit(0)


def _own_stdout() -> Any:
    """The pipe to the parent, alone: whatever C code prints to stdout from here on goes where stderr goes."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames, params.port = ["127.0.0.1"], settings["port"]
    params.api_keys = [settings["key"]]
    params.cors_origins, params.cors_credentials = "", False
    params.ui, params.endpoint_slots = False, False
    params.verbosity = -1
    params.use_jinja = True
    if settings["template"]:
        params.chat_template = settings["template"]
    params.n_parallel, params.n_ctx = settings["slots"], settings["slots"] * settings["context"]
    params.n_predict = settings["tokens"]
    if settings["pooling"]:
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{settings['pooling'].upper()}")
    # a cancelled request ends between two batches: a small one lets it end within a second or two, on one core;
    # a text to be embedded has to be one batch
    params.n_batch = params.n_ubatch = settings["context"] if settings["pooling"] else 256
    # 8 GiB of old prompts is llama.cpp's default
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
