"""`render` rows of the language: a template and its sources."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from composemagic.engine.stream import Stream
from composemagic.language.casts import CastError
from composemagic.language.formats import Unloaded
from composemagic.language.streams import Uncollected
from composemagic.language.template import LOADED, Findings, RenderError, compile_template, unknown_source
from tests.conformance.rows import RefusedError, Row, refuse, revived, written


def render(row: Row) -> object:
    """A `render` row: the template compiled and filled, as the table writes values."""
    scope = {name: revived(value) for name, value in row["sources"].items()}
    findings = Findings()
    template = compile_template(row["template"], findings=findings, skip_decode=row.get("skip_decode", False))
    sentences = [flaw.sentence for flaw in findings.flaws]
    for hole in template.holes:
        if words := unknown_source(hole.reference, [*scope, "env", *hole.bound]):
            sentences.append(words)
    if sentences:
        raise refuse("load", sentences)

    async def fill() -> object:
        sources = {"env": {}, LOADED: {}, **scope}
        while True:
            try:
                return await _read(template.render(sources))
            except Uncollected as wanted:
                assert isinstance(wanted.stream, Stream)
                await wanted.stream.collect()
            except Unloaded as wanted:
                wanted.keep(_loaded(wanted))

    try:
        return asyncio.run(fill())
    except (RenderError, CastError) as error:
        raise RefusedError("run", str(error)) from None


async def _read(value: Any) -> Any:
    """The value as the table writes it, streams inside it, too."""
    if isinstance(value, dict):
        return {key: await _read(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [await _read(inner) for inner in value]
    return await written(value)


def _loaded(wanted: Unloaded) -> bytes:
    """The bytes of a file, as far as a table can name one; tables name no address."""
    if wanted.format != "path":
        raise RefusedError("run", f"nothing is loaded from {wanted.address}")
    try:
        return Path(wanted.address).read_bytes()
    except (OSError, ValueError) as error:
        raise RefusedError("run", str(error)) from None
