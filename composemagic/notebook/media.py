"""Images, sounds and films as they are, inside the page; nothing is fetched and nothing in them can run."""

from __future__ import annotations

import base64
import re

from composemagic.notebook.look import escaped
from composemagic.words import say

__all__ = ["LARGEST", "kind_of", "media", "media_text"]

LARGEST = 4 * 2**20
"""Bytes of one image, sound or film that a page and a saved notebook are given."""

# no image/svg+xml: it is a document
_TYPES = {
    "img": ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"),
    "audio": ("audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/aac", "audio/mp4", "audio/webm"),
    "video": ("video/mp4", "video/webm", "video/ogg"),
}
_TAGS = {kind: tag for tag, kinds in _TYPES.items() for kind in kinds}

# what files of a type begin with: WHATWG "MIME Sniffing", 6.1 and 6.2
_BEGINNINGS = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF.{4}WEBPVP", "image/webp"),
    (rb"RIFF.{4}WAVE", "audio/wav"),
    (rb"ID3|\xff[\xe3\xf3\xfb]", "audio/mpeg"),
    (rb"OggS\0", "audio/ogg"),
    (rb"fLaC", "audio/flac"),
    (rb".{4}ftyp(?:mp4|isom)", "video/mp4"),
    (rb"\x1a\x45\xdf\xa3", "video/webm"),
)
_SNIFFED = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _BEGINNINGS)


def kind_of(data: bytes) -> str:
    """The media type of bytes: what a cast made of them, else what they begin with, else empty."""
    told = getattr(data, "content_type", "").lower()
    told = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg", "audio/x-wav": "audio/wav"}.get(told, told)
    return told if told in _TAGS else next((kind for begins, kind in _SNIFFED if begins.match(data)), "")


def media(data: bytes) -> str:
    """Bytes as HTML: what can be seen or heard as such, up to `LARGEST`, else how many they are."""
    kind, words = kind_of(data), escaped(media_text(data))
    if not kind or len(data) > LARGEST:
        return f"<code>{words}</code>"
    source = f'src="data:{kind};base64,{base64.b64encode(data).decode()}"'
    if _TAGS[kind] == "img":
        return f'<img alt="{words}" style="max-width:100%" {source}>'
    return f'<{_TAGS[kind]} controls title="{words}" style="max-width:100%" {source}></{_TAGS[kind]}>'


def media_text(data: bytes) -> str:
    """How many bytes, and of which type where it is known."""
    kind = kind_of(data)
    if kind:
        return say("{kind}, {count} bytes", kind=kind, count=f"{len(data):,}")
    return say("{count} bytes", count=f"{len(data):,}")
