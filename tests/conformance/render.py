"""`render` rows of the language: a template and its sources."""

from __future__ import annotations

import asyncio

from composemagic.engine.stream import Stream
from composemagic.language.casts import CastError, Uncollected
from composemagic.language.template import Findings, RenderError, compile_template, unknown_source
from tests.conformance.rows import LeftError, RefusedError, Row, refuse, revived, written


def render(row: Row) -> object:
    """A `render` row: the template compiled and filled, as the table writes values."""
    if "skip_decode" in row:
        raise LeftError("media formats")
    scope = {name: revived(value) for name, value in row["sources"].items()}
    findings = Findings()
    template = compile_template(row["template"], findings=findings)
    sentences = [flaw.sentence for flaw in findings.flaws]
    sentences += [words for hole in template.holes if (words := unknown_source(hole.reference, [*scope, "env"]))]
    if sentences:
        raise refuse("load", sentences)

    async def fill() -> object:
        while True:
            try:
                return await written(template.render({"env": {}, **scope}))
            except Uncollected as wanted:
                assert isinstance(wanted.stream, Stream)
                await wanted.stream.collect()

    try:
        return asyncio.run(fill())
    except (RenderError, CastError) as error:
        raise RefusedError("run", str(error)) from None
