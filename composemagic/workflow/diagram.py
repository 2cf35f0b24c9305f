"""A plan as a picture of our own, as Mermaid text for whoever draws that, and as a plain-text tree everywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from composemagic.language.template import Template
from composemagic.text import plain
from composemagic.words import listing, say
from composemagic.workflow.job import ComponentJob, DelayJob, FanOutJob, IfJob, Job, PipelineJob, RandomRouterJob
from composemagic.workflow.plan import Plan

if TYPE_CHECKING:
    from composemagic.picture.graph import Arrow, Net

__all__ = ["Diagram", "Edge", "Node", "diagram", "net"]

_LONGEST = 60  # characters of a label
_MOST = 60  # jobs, those inside others counted, of which a picture can still be read


class Edge(NamedTuple):
    """A way to another job, by its id. `label` says when it is taken; `on_error`: after a failure."""

    target: str
    label: str = ""
    on_error: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A job: its id and what it does.

    `after` are the jobs it waits for, of those in one group for any, `routes` the ways it may choose, `body` the jobs inside;
    `in_turn`: these run one after the other.
    """

    id: str
    text: str
    after: tuple[tuple[str, ...], ...] = ()
    routes: tuple[Edge, ...] = ()
    body: tuple[Node, ...] = ()
    in_turn: bool = False

    @property
    def chooses(self) -> bool:
        """Whether it decides what comes next, and not only after a failure."""
        return any(not edge.on_error for edge in self.routes)


@dataclass(frozen=True, repr=False)
class Diagram:
    """How the jobs of a workflow connect. `str` of it is Mermaid text, `tree` plain text with box characters.

    A notebook shows it as a picture (`svg`), which needs no front end that draws Mermaid; of very many jobs as Mermaid or
    as the tree.
    """

    title: str
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return "\n".join(["flowchart TD", *(f"    {line}" for line in _Mermaid(self.nodes).lines())]) + "\n"

    def __repr__(self) -> str:
        return self.tree

    @property
    def tree(self) -> str:
        """One line a job, in the order written; below it where it leads and what it repeats."""
        return "\n".join([_shown(self.title), *_branches(_lines_of(self.nodes))])

    @property
    def svg(self) -> str:
        """A picture that fits light and dark pages, as SVG text; empty for more jobs than can be read (60)."""
        from composemagic.picture.graph import graph  # only who looks pays for it

        return graph(net(self.nodes), self.title) if self._count(self.nodes) <= _MOST else ""

    def _count(self, nodes: tuple[Node, ...]) -> int:
        return sum(1 + self._count(node.body) for node in nodes)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        svg = self.svg
        picture = {"text/html": f'<div class="mathjax_ignore tex2jax_ignore">{svg}</div>'} if svg else {}
        return {**picture, "text/vnd.mermaid": str(self), "text/plain": self.tree}


def diagram(plan: Plan) -> Diagram:
    """The diagram of a plan."""
    return Diagram(plan.title or plan.id, tuple(map(_node, plan.jobs)))


# -- jobs ----------------------------------------------------------------------------------------------------------------


def _node(job: Job, name: str = "") -> Node:
    text, routes = _text(job), list(_routes(job))
    if job.before is not None or job.after is not None:
        text = say("{what}, asks a person", what=text)
    if job.on_error is not None and job.on_error.to is not None:
        routes.append(Edge(job.on_error.to, on_error=True))
    in_turn = isinstance(job, PipelineJob)
    names = [str(number) for number in range(1, len(job.inner()) + 1)] if in_turn else ["do"]
    body = tuple(_node(each, inner) for each, inner in zip(job.inner(), names, strict=False))
    return Node(name or job.id, text, job.depends_on, tuple(routes), body, in_turn)


def _text(job: Job) -> str:
    """What a job does, in a few words."""
    match job:
        case ComponentJob(action=action):
            kind = action.component.type
            return kind if action.id == kind else f"{kind} {action.id}"
        case DelayJob(duration=Template() as wait) | DelayJob(time=Template() as wait):
            return f"{job.kind} {_known(wait)}".rstrip()
        case FanOutJob(names=names):
            return f"{job.kind} {', '.join(names)}"
    return job.kind


def _routes(job: Job) -> Iterator[Edge]:
    """The jobs that a job may choose, and when."""
    match job:
        case IfJob(branches=branches, otherwise=otherwise):
            for branch in branches:
                if branch.if_true is not None:
                    yield Edge(branch.if_true, branch.label)
                if branch.if_false is not None:
                    yield Edge(branch.if_false, say("not {condition}", condition=branch.label))
            if otherwise is not None:
                yield Edge(otherwise, say("otherwise"))
        case RandomRouterJob(routings=routings, weighted=weighted):
            for to, weight in routings:
                yield Edge(to, _known(weight) if weighted and weight is not None else "")


def _known(template: Template) -> str:
    """A value that is known before the run, else nothing."""
    return "" if template.holes else str(template.render({}))


# -- the tree ------------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    text: str
    below: tuple[_Line, ...] = ()


def _lines_of(nodes: Iterable[Node]) -> tuple[_Line, ...]:
    return tuple(map(_line_of, nodes))


def _line_of(node: Node) -> _Line:
    words = [_shown(node.id), _shown(node.text)]
    if node.after:
        words.append(_after(node.after))
    routes = (_Line(_route(edge)) for edge in node.routes)
    return _Line(" · ".join(word for word in words if word), (*_lines_of(node.body), *routes))


def _after(groups: tuple[tuple[str, ...], ...]) -> str:
    return say("after {jobs}", jobs=listing(reduce(_or, map(_shown, group)) for group in groups))


def _or(one: str, other: str) -> str:
    return say("{one} or {other}", one=one, other=other)


def _route(edge: Edge) -> str:
    label = say("on error") if edge.on_error else _shown(edge.label)
    return f"{label} → {_shown(edge.target)}" if label else f"→ {_shown(edge.target)}"


def _branches(lines: tuple[_Line, ...], before: str = "") -> Iterator[str]:
    for line in lines:
        is_last = line is lines[-1]
        yield f"{before}{'└' if is_last else '├'}── {line.text}"
        yield from _branches(line.below, f"{before}{' ' if is_last else '│'}   ")


def _shown(text: str) -> str:
    """A document's words on one short line, without what a terminal would obey."""
    line = " ".join(plain(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


# -- our own picture -----------------------------------------------------------------------------------------------------


def net(nodes: tuple[Node, ...], *, with_details: bool = True, in_turn: bool = False) -> Net:
    """The nodes as a picture has them: with what they do and the jobs inside, or without such details."""
    from composemagic.picture.graph import Box, Net

    boxes = (
        Box(_shown(node.id), _shown(node.text), node.chooses, _inside(node)) if with_details
        else Box(node.id, chooses=node.chooses)
        for node in nodes
    )  # fmt: skip
    return Net(tuple(boxes), tuple(_ways(nodes, in_turn=in_turn)))


def _inside(node: Node) -> Net | None:
    return net(node.body, in_turn=node.in_turn) if node.body else None


def _ways(nodes: tuple[Node, ...], *, in_turn: bool) -> Iterator[Arrow]:
    """One arrow from job to job, whatever the number of reasons."""
    from composemagic.picture.graph import Arrow

    known = {node.id for node in nodes}
    pairs = pairwise(node.id for node in nodes) if in_turn else ()
    found: dict[tuple[str, str], list[str]] = {pair: [] for pair in pairs}
    routed = {(node.id, edge.target) for node in nodes for edge in node.routes}
    for node in nodes:
        for group in node.after:
            for awaited in group:
                found.setdefault((awaited, node.id), [])
        for edge in node.routes:
            label = say("on error") if edge.on_error else _shown(edge.label)
            found.setdefault((node.id, edge.target), []).append(label)
    for (start, end), labels in found.items():
        if start in known and end in known:
            yield Arrow(start, end, ", ".join(filter(None, labels)), (start, end) in routed)


# -- Mermaid -------------------------------------------------------------------------------------------------------------


class _Mermaid:
    """The lines below `flowchart TD`. Nodes are called n1, n2, ...: what a document says stands in labels only."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.count = 0

    def lines(self) -> Iterator[str]:
        yield from self.boxes(self.nodes)

    def boxes(self, nodes: tuple[Node, ...], *, in_turn: bool = False) -> Iterator[str]:
        """The nodes of one level, those of their bodies within, and the arrows between them."""
        names = {node.id: self.name() for node in nodes}
        for node in nodes:
            yield from self.box(node, names[node.id])
        if in_turn:
            yield from (f"{one} --> {other}" for one, other in pairwise(names.values()))
        chosen = {(node.id, edge.target) for node in nodes for edge in node.routes}
        for node in nodes:
            yield from _arrows(node, names, chosen)

    def box(self, node: Node, name: str) -> Iterator[str]:
        parts = [_escaped(text) for text in (node.id, node.text) if text]
        if node.body:
            yield f'subgraph {name}["{" · ".join(parts)}"]'
            yield from (f"    {line}" for line in self.boxes(node.body, in_turn=node.in_turn))
            yield "end"
        else:
            label = "<br>".join(parts)
            yield f'{name}{{"{label}"}}' if node.chooses else f'{name}["{label}"]'

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"


def _arrows(node: Node, names: Mapping[str, str], chosen: set[tuple[str, str]]) -> Iterator[str]:
    """What leads to a node, but for the ways that others choose, and the ways that it chooses itself."""
    here = names[node.id]
    for group in node.after:
        label = say("or") if len(group) > 1 else ""
        for awaited in group:
            if awaited in names and (awaited, node.id) not in chosen:
                yield f"{names[awaited]} -->{_on(label)} {here}"
    for edge in node.routes:
        if edge.target in names:
            arrow, label = ("-.->", say("on error")) if edge.on_error else ("-->", edge.label)
            yield f"{here} {arrow}{_on(label)} {names[edge.target]}"


def _on(label: str) -> str:
    return f'|"{_escaped(label)}"|' if label else ""


def _escaped(text: str) -> str:
    """A label that Mermaid shows as it is: all that could be Mermaid, Markdown, HTML, a link or an icon becomes `#N;`."""
    apart = _APART.sub("\\g<0>\u200b", _shown(text))
    return _ACTIVE.sub(lambda found: f"#{ord(found[0])};", apart)


# letters, digits, spaces, commas, and these within a word, are only themselves
_ACTIVE = re.compile(r"(?<!\w)[-_/]|[-_/](?!\w)|[^\w \-/,]")
# Mermaid looks for `$$formulas$$` and `fa:fa-icons` once more in what it is about to show
_APART = re.compile(r"\$(?=\$)|(?<=\w):(?=\w)")
