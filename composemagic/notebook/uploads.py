"""A form's fields for files: chosen in the browser, shown with their size, and as a picture or a player where they are one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from composemagic.language.formats import Media
from composemagic.notebook.fields import Field, Shared, label_of
from composemagic.notebook.kinds import FIELDS_OF_FORMATS, same_kind
from composemagic.notebook.look import SMALL, clipped, escaped
from composemagic.notebook.media import LARGEST, kind_of, media
from composemagic.words import listing, say
from composemagic.workflow.inputs import Input

__all__ = ["Upload", "field", "size"]

MOST = 10_000_000
"""Bytes of the files of one field: Jupyter's servers take no message from a page that is larger than 10 MiB."""

_ACCEPTED = {
    "image": "image/*",
    "audio": "audio/*",
    "video": "video/*",
    "model-3d": ".glb,.gltf,.obj,.stl,.ply,.usdz",
    "file": "",
}
_SEEN = ("image", "audio", "video")  # the types whose files say of what type they are


def field(one: Input, shared: Shared) -> Field:
    """The field for an input."""
    form = one.cast.format if one.cast else None
    if one.type not in _ACCEPTED:
        return same_kind(one, shared)
    return Upload(one, shared) if form not in FIELDS_OF_FORMATS or one.is_list else FIELDS_OF_FORMATS[form](one, shared)


class Upload(Field):
    """A file, or several for a list. Bytes that were given before are used until a file is chosen."""

    is_kept = False
    kind = widgets.FileUpload
    _given: Any = None

    def make(self) -> Any:
        words = say("Choose files") if self.input.is_list else say("Choose a file")
        style = self.shared.style(self.kind)
        button = self.kind(description=words, accept=self._accepted(), multiple=self.input.is_list, style=style)
        button.tooltip = label_of(self.input)
        button.layout = self.shared.plain
        return button

    def laid_out(self) -> Any:
        """The button behind its label, which an upload does not have by itself."""
        label = self.shared.html(
            f'<div class="mathjax_ignore tex2jax_ignore compose-label">{escaped(label_of(self.input))}</div>'
        )
        return widgets.HBox([label, self.widget], layout=self.shared.plain)

    @property
    def files(self) -> list[_File]:
        """What is chosen now."""
        return [_File.of(one) for one in self.widget.value]

    def put(self, value: Any) -> None:
        self._given = value
        self.widget.value = ()

    def read(self) -> Any:
        if not self.widget.value:
            return self._given
        if problem := self._problem():
            raise ValueError(problem)
        found = [self._encoded(one.media()) for one in self.files]
        return found if self.input.is_list else found[0]

    def wrong(self) -> str:
        return self._problem()

    def names(self) -> str:
        """The files that were chosen, each with its size."""
        return listing(f"{clipped(one.name, 60)} ({size(one.size)})" for one in self.files)

    def hint(self) -> str:
        return say("up to {size}", size=size(MOST))

    def shown(self) -> str:
        """Every file with its name and size; pictures and players as far as a page is given them."""
        left, parts = LARGEST, []
        for one in self.files:
            is_small = one.size <= left
            left -= one.size if is_small else 0
            parts.append(_preview(one, with_picture=is_small))
        return "".join(parts)

    def _accepted(self) -> str:
        subtype = self.input.cast.subtype if self.input.cast else None
        return f"{self.input.type}/{subtype}" if subtype and self.input.type in _SEEN else _ACCEPTED[self.input.type]

    def _problem(self) -> str:
        """What is wrong with the files: one that is of another type than the input."""
        wanted = self.input.type
        others = [one.name for one in self.files if wanted in _SEEN and not one.type.startswith(f"{wanted}/")]
        if not others:
            return ""
        names = listing(clipped(name, 40) for name in others)
        match wanted:
            case "image":
                return say("no picture: {names}", names=names)
            case "audio":
                return say("no sound: {names}", names=names)
        return say("no film: {names}", names=names)

    def _encoded(self, data: Media) -> Any:
        """The bytes as the input's format says; where there is none, as they are."""
        form = self.input.cast.format if self.input.cast else None
        if form not in ("base64", "data-uri"):
            return data
        text = base64.b64encode(data).decode()
        return text if form == "base64" else f"data:{data.content_type};base64,{text}"


@dataclass(frozen=True, slots=True)
class _File:
    """A chosen file. `type` is what the browser says, which goes by the name, else what it begins with."""

    name: str
    type: str
    size: int
    content: Any

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> _File:
        content = told["content"]
        return cls(told["name"], told["type"] or kind_of(bytes(content[:64])), told["size"], content)

    def media(self) -> Media:
        """Its bytes, with their type."""
        data = Media(bytes(self.content))
        data.content_type = self.type or "application/octet-stream"
        return data


def _preview(one: _File, *, with_picture: bool) -> str:
    words = f'<div style="{SMALL}">{escaped(clipped(one.name, 60))}, {escaped(size(one.size))}</div>'
    if not with_picture:
        return words
    data = one.media()
    return f'{words}<div class="compose-preview">{media(data)}</div>' if kind_of(data) else words


def size(count: int) -> str:
    """A number of bytes as people say it."""
    for unit, least in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= least:
            return f"{count / least:.{0 if count >= 100 * least else 2}f}".removesuffix(".00") + f" {unit}"
    return say("{count} bytes", count=count)
