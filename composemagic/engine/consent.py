"""Whether a secret may go where a request goes: what is known, and what a person answers, once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from composemagic.allowance import allow
from composemagic.errors import RunError
from composemagic.language.secret import Secret, secrets_in
from composemagic.language.template import Flaw
from composemagic.transport import remembered
from composemagic.transport.binding import Use, is_permitted, origin_of, question, refusal, uses
from composemagic.transport.secrets import opened
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["not_given", "opened_for"]

_YES = frozenset({"yes", "y", "true", "ok", "是", "好"})


async def opened_for(
    step: Step, path: tuple[str | int, ...], url: Any, headers: Mapping[str, Any], body: Any
) -> tuple[str, dict[str, Any], Any]:
    """The parts of a request with the texts of the secrets in them, if these may go there. Raises RunError."""
    if not secrets_in([url, headers, body]):
        return str(url), dict(headers), body
    found = uses(url, headers, body)
    for use in found:
        await _permit(step, path, use)
    address: str = opened(url)
    if isinstance(url, Secret) and any(use.origin != origin_of(address) for use in found):
        # what was asked about is what is done
        raise RunError("secret", say("a secret cannot stand in the host of an address"))
    return address, opened(dict(headers)), opened(body) if any(use.place == "body" for use in found) else body


async def _permit(step: Step, path: tuple[str | int, ...], use: Use) -> None:
    host = step.frame.host
    is_replayed = host.surroundings.offline is not None and host.surroundings.held is None
    if is_replayed or is_permitted(use, host.surroundings.env):
        return
    if host.consents and host.attended and not host.auto_resume:
        # who asks many things at once is answered once
        async with host.loop.shared(("consent", use), asyncio.Lock):
            if is_permitted(use, host.surroundings.env) or await _is_agreed(step, use):
                return
    raise RunError("not_allowed", refusal(use), mark=host.plan.place(Flaw("", path)))


async def _is_agreed(step: Step, use: Use) -> bool:
    """Ask whoever is there; a yes is remembered."""
    answer = await step.ask("ask", question(use), None, None)
    if answer is not True and str(answer).strip().lower() not in _YES:
        return False
    allow(use.name, use.origin, place=use.place)  # also where the file cannot be written
    remembered.remember(use.name, use.origin, use.place)
    return True


def not_given(name: str, kind: str) -> str:
    """The sentence for a secret that a component would be given, with the line that allows it."""
    return say(
        "`{name}` is a secret, which a document may send in a header of a request to its own host, and not give to `{type}` "
        'by itself. If you trust this one, write in Python: composemagic.allow("{name}", "{type}")',
        name=name,
        type=kind,
    )
