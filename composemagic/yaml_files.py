"""What `load` is given: YAML text, the path of a file, or a list of these."""

from __future__ import annotations

import os
import re
from pathlib import Path

from composemagic.errors import UsageError
from composemagic.words import say
from composemagic.workflow.merge import Text

__all__ = ["read", "says", "texts_of"]

# one line without a space after a colon, which no workflow can be, with an ending as files have
_FILE = re.compile(r"(?!.*:\s)[^\n{}\[\]]*\.\w+\s*")


def says(text: str) -> bool:
    """Whether there is more in a YAML text than blanks and comments."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def texts_of(source: object) -> tuple[list[Text], Path | None]:
    """What to read, and the folder of the first file of it, where `.env` is looked for. Raises UsageError."""
    sources = list(source) if isinstance(source, list | tuple) else [source]
    if not sources:
        raise UsageError(say("`load` takes YAML text or the paths of files; this list is empty"))
    paths = [_path_of(one) for one in sources]
    name = say("this text")
    names = [name if len(sources) == 1 else f"{name} ({at})" for at in range(1, len(sources) + 1)]
    texts = [
        Text(str(one), name) if path is None else Text(read(path), str(path))
        for one, path, name in zip(sources, paths, names, strict=True)
    ]
    return texts, next((path.parent for path in paths if path is not None), None)


def _path_of(source: object) -> Path | None:
    """The file that a source names, or None for a text. Raises UsageError for what is neither."""
    if isinstance(source, str):
        is_file = _FILE.fullmatch(source) or ("\n" not in source and source.strip().endswith((".yml", ".yaml")))
        return Path(source.strip()) if is_file else None
    if isinstance(source, os.PathLike):
        return Path(source)
    given = "None" if source is None else type(source).__name__
    raise UsageError(say("`load` takes YAML text or the path of a file, not {value}", value=given))


def read(path: Path) -> str:
    """The text of a file. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(say("there is no file `{path}`", path=path)) from None
    except IsADirectoryError:
        raise UsageError(say("`{path}` is a folder; name the YAML file in it", path=path)) from None
    except UnicodeDecodeError:
        raise UsageError(say("`{path}` is not a text in UTF-8", path=path)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(say("`{path}` cannot be read: {reason}", path=path, reason=reason)) from None
