"""Conditions by themselves, as jobs have them: `{input, operator=eq, value}` and `all`, `any`, `not` of such."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from composemagic.language.comparison import Test, compile_test
from composemagic.language.findings import Findings, Hole, Path
from composemagic.language.template import start_compiler

__all__ = ["Condition", "compile_condition"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition: `test(scope)` says whether it holds; `holes` are its references.

    `test` raises RenderError where two values cannot be compared, and what rendering raises: MissingVariable, Uncollected.
    """

    test: Test
    holes: tuple[Hole, ...]


def compile_condition(
    value: Any,
    path: Path = (),
    *,
    findings: Findings | None = None,
    is_quoted: Callable[[Path], bool] = lambda _: False,
    loose: bool = False,
    beside: Collection[str] = (),
) -> Condition:
    """Compile the condition that stands at `path` of its document; mistakes are added to `findings`.

    `loose`: a number and text that is a number compare as numbers (`if` and `switch`). `beside` are the keys of the same
    mapping that its owner reads, such as `if_true`; any other key is a mistake.
    """
    compiler = start_compiler(findings, is_quoted)
    test = compile_test(value, path, compiler, loose=loose, beside=beside)
    return Condition(test, tuple(compiler.holes))
