"""`;base64 ;data-uri ;path ;url` after a type: the text says where the value is, or holds it encoded.

What is fetched is not fetched here: the language does no I/O. A value that is not there yet raises Unloaded; whoever renders
loads it, keeps it and renders again.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from composemagic.language.streams import Wanted
from composemagic.language.values import CastError, shown
from composemagic.words import say

__all__ = ["ENCODED", "FORMATS", "LOADED", "Media", "Unloaded", "content_type", "decoded"]

FORMATS = ("base64", "url", "path", "data-uri")
ENCODED = frozenset({"base64", "url", "data-uri"})  # what may be passed on as it is: a path means nothing elsewhere
LOADED = "$loaded"  # where a scope keeps what was loaded for it; no source can have this name

Loaded = MutableMapping[tuple[str, str], bytes]

_DATA_URI = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),(?P<data>.*)", re.DOTALL)
_URL = re.compile(r"https?://[^\s/]", re.IGNORECASE)
_CONTENT_TYPES = {
    "jpg": "image/jpeg", "svg": "image/svg+xml", "mp3": "audio/mpeg", "mov": "video/quicktime", "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
}  # fmt: skip
_TOP_TYPES = {"image": "image", "audio": "audio", "video": "video", "model-3d": "model"}


class Unloaded(Wanted):
    """`;url` or `;path` names what has not been loaded yet: load `address` as its `format` says, and `keep` the bytes.

    A url is http or https; a path is as the user gave it, and may only lead to a file under the document's folder.
    """

    def __init__(self, form: str, address: str, loaded: Loaded) -> None:
        self.format = form
        self.address = address
        self._loaded = loaded
        super().__init__(f"{form} {address} has to be loaded first")

    def keep(self, data: bytes) -> None:
        """Keep the bytes for the next rendering."""
        self._loaded[self.format, self.address] = data


class Media(bytes):
    """The bytes of a file, an image, a sound, a video or a model, with what is known of them.

    `type` is the cast's (such as "image"), `content_type` a media type, `attrs` are the cast's attributes.
    """

    type: str = "file"
    content_type: str = "application/octet-stream"
    attrs: tuple[tuple[str, str], ...] = ()


def decoded(text: str, form: str, loaded: Loaded | None) -> bytes:
    """The bytes that a text in this format holds or names. Raises CastError and Unloaded."""
    match form:
        case "base64":
            return _from_base64(text)
        case "data-uri":
            return _from_data_uri(text)
    if form == "url" and not _URL.match(text):
        raise CastError(say("{value} is no address that begins with http:// or https://", value=shown(text)))
    if loaded is None:
        raise CastError(say("`;{format}` cannot be used here, where nothing is loaded", format=form))
    if (form, text) not in loaded:
        raise Unloaded(form, text, loaded)
    return loaded[form, text]


def _from_base64(text: str) -> bytes:
    plain = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise CastError(say("{value} is no base64", value=shown(text))) from None


def _from_data_uri(text: str) -> bytes:
    found = _DATA_URI.match(text)
    if not found:
        raise CastError(say("{value} is no data URI, such as `data:text/plain;base64,aGk=`", value=shown(text)))
    data = unquote_to_bytes(found["data"])
    return _from_base64(data.decode("latin-1")) if ";base64" in found["parameters"].lower() else data


def content_type(kind: str, subtype: str | None, form: str | None, value: Any) -> str:
    """The media type of what is cast so: what the data URI says, else the type's with its subtype."""
    if form == "data-uri" and isinstance(value, str) and (found := _DATA_URI.match(value)) and found["type"]:
        return found["type"]
    top = _TOP_TYPES.get(kind)
    known = _CONTENT_TYPES.get(subtype or "", f"{top}/{subtype}" if top and subtype else "application/octet-stream")
    return known if top is None or known.startswith(f"{top}/") else "application/octet-stream"
