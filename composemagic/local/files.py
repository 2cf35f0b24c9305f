"""Models that workflows name as files: which file is meant, and a server for each, for as long as a workflow wants it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composemagic.errors import ModelError
from composemagic.local import serve, weights
from composemagic.local.serve import LocalModel
from composemagic.words import say

__all__ = ["Wanted", "file_of", "served"]

GRACE_SECONDS = 30.0  # a cell that is run again wants the same model a moment later

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to be served: a GGUF file (None: the embedded model), how it pools where it embeds, a chat template."""

    path: Path | None = None
    pooling: str = ""
    template: str = ""


def file_of(name: str | None, below: Callable[[str], Path]) -> Path | None:
    """The GGUF file that a workflow's `model` means: one in the cache, else one that `below` finds in the user's folder.

    None is the embedded model. Raises ModelError where there is no such file or it is none, and what `below` raises.
    """
    if name is None or name == weights.NAME:
        return None
    cached = weights.cached().parent / Path(name).name
    path = cached if name in (cached.name, str(cached)) and cached.is_file() else below(name)
    if not path.is_file():
        raise ModelError(
            say(
                "there is no model file `{name}`; `model` is a GGUF file in the workflow's folder, or nothing for the embedded "
                "model ({embedded})",
                name=name, embedded=weights.NAME,
            )
        )  # fmt: skip
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(say("`{name}` is not a GGUF file", name=name))
    return path


def served(wanted: Wanted, owner: object, progress: Progress) -> LocalModel:
    """A running server for a model, shared by all owners who want the same; it ends some time after the last is gone.

    Blocks, and any thread may call. Raises ModelError.
    """
    if wanted == Wanted():
        return serve.shared(progress)  # the one of `--local`
    with _lock:
        serve.require_llama()
        path = wanted.path or weights.ensure(progress)
        key = path, wanted.pooling, wanted.template
        model = _models.get(key)
        if model is None:
            model = _models[key] = _Owned(LocalModel(path, pooling=wanted.pooling, template=wanted.template))
        model.belongs_to(owner)
        model.model.start()
        return model.model


class _Owned:
    """A model and the components it runs for."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self._owners: weakref.WeakSet[Any] = weakref.WeakSet()

    def belongs_to(self, owner: object) -> None:
        if owner not in self._owners:
            self._owners.add(owner)
            weakref.finalize(owner, self._without_owner).atexit = False

    def _without_owner(self) -> None:
        """One of them is gone. Called wherever Python happens to notice, so nothing here waits or locks."""
        timer = threading.Timer(GRACE_SECONDS, self._end_unowned)
        timer.daemon = True
        timer.start()

    def _end_unowned(self) -> None:
        with _lock:
            if not self._owners:
                self.model.stop()


_models: dict[tuple[Path, str, str], _Owned] = {}
_lock = threading.Lock()


def _stop_all() -> None:
    for owned in _models.values():
        owned.model.stop()


def _forget_all() -> None:
    """In a forked child: the servers are the parent's, and a thread of the parent's may hold the lock for ever."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _stop_all()
    _models.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
