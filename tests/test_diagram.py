"""Diagrams: what a workflow's jobs look like as a tree, as Mermaid, and in a real JupyterLab."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import pytest

import composemagic
from composemagic.workflow.diagram import Diagram, Edge, Node
from tests.lab import Lab

WRITER = "components: [{id: writer, type: echo, action: {text: hi}}]"


@dataclass(frozen=True)
class Row:
    """The jobs of a workflow in YAML, its tree below the title, and the lines below `flowchart TD`."""

    jobs: str
    tree: str
    mermaid: str


ROWS = {
    "one job": Row(
        """
        - {id: only}
        """,
        """
        └── only · echo writer
        """,
        """
        n1["only<br>echo writer"]
        """,
    ),
    "an action of its own name": Row(
        """
        - {id: only, component: {type: echo, actions: [{id: greet, text: hi}]}, action: greet}
        """,
        """
        └── only · echo greet
        """,
        """
        n1["only<br>echo greet"]
        """,
    ),
    "one after the other, said and implied": Row(
        """
        - {id: a}
        - {id: b, depends_on: [a]}
        - {id: c, input: {text: "${jobs.b.output}"}}
        """,
        """
        ├── a · echo writer
        ├── b · echo writer · after a
        └── c · echo writer · after b
        """,
        """
        n1["a<br>echo writer"]
        n2["b<br>echo writer"]
        n3["c<br>echo writer"]
        n1 --> n2
        n2 --> n3
        """,
    ),
    "all of, and any of": Row(
        """
        - {id: a}
        - {id: b}
        - {id: c}
        - {id: d, depends_on: [a, [b, c]]}
        """,
        """
        ├── a · echo writer
        ├── b · echo writer
        ├── c · echo writer
        └── d · echo writer · after a, b or c
        """,
        """
        n1["a<br>echo writer"]
        n2["b<br>echo writer"]
        n3["c<br>echo writer"]
        n4["d<br>echo writer"]
        n1 --> n4
        n2 -->|"or"| n4
        n3 -->|"or"| n4
        """,
    ),
    "if, and what it chooses waits for it": Row(
        """
        - {id: check, type: if, input: "${input.n}", operator: gt, value: 3, if_true: high, if_false: low}
        - {id: high, depends_on: [check]}
        - {id: low}
        """,
        """
        ├── check · if
        │   ├── gt 3 → high
        │   └── not gt 3 → low
        ├── high · echo writer · after check
        └── low · echo writer
        """,
        """
        n1{"check<br>if"}
        n2["high<br>echo writer"]
        n3["low<br>echo writer"]
        n1 -->|"gt 3"| n2
        n1 -->|"not gt 3"| n3
        """,
    ),
    "switch": Row(
        """
        - {id: pick, type: switch, input: "${input.x}", cases: [{value: yes, then: a}, {value: 2, then: b}], otherwise: b}
        - {id: a}
        - {id: b}
        """,
        """
        ├── pick · switch
        │   ├── "yes" → a
        │   ├── 2 → b
        │   └── otherwise → b
        ├── a · echo writer
        └── b · echo writer
        """,
        """
        n1{"pick<br>switch"}
        n2["a<br>echo writer"]
        n3["b<br>echo writer"]
        n1 -->|"#34;yes#34;"| n2
        n1 -->|"2"| n3
        n1 -->|"otherwise"| n3
        """,
    ),
    "chance": Row(
        """
        - {id: dice, type: random-router, mode: weighted, routings: [{to: a, weight: 1}, {to: b, weight: "${input.w}"}]}
        - {id: a}
        - {id: b}
        """,
        """
        ├── dice · random-router
        │   ├── 1 → a
        │   └── → b
        ├── a · echo writer
        └── b · echo writer
        """,
        """
        n1{"dice<br>random-router"}
        n2["a<br>echo writer"]
        n3["b<br>echo writer"]
        n1 -->|"1"| n2
        n1 --> n3
        """,
    ),
    "chance without weights": Row(
        """
        - {id: dice, type: random-router, routings: [{to: a, weight: 7}]}
        - {id: a}
        """,
        """
        ├── dice · random-router
        │   └── → a
        └── a · echo writer
        """,
        """
        n1{"dice<br>random-router"}
        n2["a<br>echo writer"]
        n1 --> n2
        """,
    ),
    "after a failure": Row(
        """
        - {id: try, on_error: {to: sorry}}
        - {id: sorry}
        """,
        """
        ├── try · echo writer
        │   └── on error → sorry
        └── sorry · echo writer
        """,
        """
        n1["try<br>echo writer"]
        n2["sorry<br>echo writer"]
        n1 -.->|"on error"| n2
        """,
    ),
    "a way back": Row(
        """
        - {id: start, type: random-router, routings: [{to: draft}]}
        - {id: draft}
        - {id: check, type: if, input: "${jobs.draft.output}", operator: eq, value: bad, if_true: draft}
        """,
        """
        ├── start · random-router
        │   └── → draft
        ├── draft · echo writer
        └── check · if · after draft
            └── eq "bad" → draft
        """,
        """
        n1{"start<br>random-router"}
        n2["draft<br>echo writer"]
        n3{"check<br>if"}
        n1 --> n2
        n2 --> n3
        n3 -->|"eq #34;bad#34;"| n2
        """,
    ),
    "bodies within bodies": Row(
        """
        - id: each
          type: for-each
          input: ${input.items}
          do: {type: pipeline, steps: [{component: writer}, {component: writer}]}
        - {id: last, depends_on: [each]}
        """,
        """
        ├── each · for-each
        │   └── do · pipeline
        │       ├── 1 · echo writer
        │       └── 2 · echo writer
        └── last · echo writer · after each
        """,
        """
        subgraph n1["each · for-each"]
            subgraph n3["do · pipeline"]
                n4["1<br>echo writer"]
                n5["2<br>echo writer"]
                n4 --> n5
            end
        end
        n2["last<br>echo writer"]
        n1 --> n2
        """,
    ),
    "what else a job may be": Row(
        """
        - {id: wait, type: delay, duration: 2s}
        - {id: late, type: delay, duration: "${input.pause}"}
        - {id: fan, type: fan-out, input: "${input.a}", output: [x, y]}
        - {id: ask, interrupt: {before: true}}
        """,
        """
        ├── wait · delay 2s
        ├── late · delay
        ├── fan · fan-out x, y
        └── ask · echo writer, asks a person
        """,
        """
        n1["wait<br>delay 2s"]
        n2["late<br>delay"]
        n3["fan<br>fan-out x, y"]
        n4["ask<br>echo writer, asks a person"]
        """,
    ),
}


def lines(text: str) -> list[str]:
    """The lines of a block, without the block's own indentation."""
    found = [line for line in text.splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in found)
    return [line[indent:] for line in found]


def load(jobs: str) -> composemagic.Workflow:
    written = "\n".join(f"    {line}" for line in lines(jobs))
    return composemagic.load(f"workflow:\n  title: Review\n  jobs:\n{written}\n{WRITER}")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_drawn(row: Row) -> None:
    diagram = load(row.jobs).diagram()
    assert diagram.tree.splitlines() == ["Review", *lines(row.tree)]
    assert str(diagram).splitlines() == ["flowchart TD", *(f"    {line}" for line in lines(row.mermaid))]


def test_how_it_shows_itself() -> None:
    diagram = load("- {id: only}").diagram()
    data = diagram._repr_mimebundle_()
    assert data.pop("text/html") == f'<div class="mathjax_ignore tex2jax_ignore">{diagram.svg}</div>'
    assert data == {"text/vnd.mermaid": str(diagram), "text/plain": diagram.tree}
    assert repr(diagram) == diagram.tree
    assert str(diagram).endswith("\n") and not diagram.tree.endswith("\n")


# -- our own picture -----------------------------------------------------------------------------------------------------

# the boxes of our own picture, and its arrows: those with dashes are chosen by somebody
PICTURES = {
    "one job": (["only"], []),
    "one after the other, said and implied": (["a", "b", "c"], ["a → b", "b → c"]),
    "all of, and any of": (["a", "b", "c", "d"], ["a → d", "b → d", "c → d"]),
    "if, and what it chooses waits for it": (
        ["check", "high", "low"],
        ["check → high (gt 3)", "check → low (not gt 3)"],
    ),
    "switch": (["pick", "a", "b"], ['pick → a ("yes")', "pick → b (2, otherwise)"]),
    "after a failure": (["try", "sorry"], ["try → sorry (on error)"]),
    "a way back": (["start", "draft", "check"], ["start → draft", "draft → check", 'check → draft (eq "bad")']),
    "bodies within bodies": (["each", "do", "1", "2", "last"], ["each → last"]),
}


@pytest.mark.parametrize("case", PICTURES)
def test_the_picture_has_the_same_jobs_and_ways(case: str) -> None:
    boxes, arrows = PICTURES[case]
    svg = load(ROWS[case].jobs).diagram().svg
    assert re.findall(r'font-weight="bold">([^<]*)</text>', svg) == boxes
    assert html.unescape(re.findall(r"<desc [^>]*>(.*?)</desc>", svg)[0]) == "; ".join(arrows or boxes)


def test_very_many_jobs_have_no_picture() -> None:
    for count, has_picture in ((60, True), (61, False)):
        diagram = load("\n".join(f"- {{id: job{number}}}" for number in range(count))).diagram()
        assert bool(diagram.svg) is has_picture
        assert ("text/html" in diagram._repr_mimebundle_()) is has_picture


# -- hostile words -------------------------------------------------------------------------------------------------------

HOSTILE = [
    '"]; click n1 "javascript:alert(1)"',
    "<img src=x onerror=alert(1)>",
    "</span><script>alert(1)</script>",
    '%%{init: {"theme": "dark"}}%%',
    "end",
    "1. a list, - another",
    "- www.evil.com",
    "https://evil.com me@evil.com",
    "[link](javascript:alert(1))",
    "fa:fa-car fab:fa-github",
    "`**bold** _italic_`",
    "$$x^2$$ $$$",
    "#35; &amp; &lt; #quot;",
    "a | b }} ]] )) -- --> ---",
    "subgraph x\n  A-->B\nend",
    "classDef default fill:#f00",
    "世界 ünï 🎈 naïve_name-of/it",
]


def drawn(name: str, text: str = "echo", label: str = "") -> Diagram:
    routes = (Edge("there", label),) if label else ()
    return Diagram(name, (Node(name, text, routes=routes), Node("there", "echo")))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_only_a_label(text: str) -> None:
    diagram = drawn(text, text, text)
    box, there, arrow = (line.strip() for line in str(diagram).splitlines()[1:])
    label = r"[\w \-/,]|#\d+;"
    assert re.fullmatch(rf'n1\{{"(?:{label})+<br>(?:{label})+"\}}', box)
    assert there == 'n2["there<br>echo"]'
    assert re.fullmatch(rf'n1 -->\|"(?:{label})+"\| n2', arrow)
    shown = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), arrow)[8:-5]
    assert shown.replace("\u200b", "") == " ".join(text.split())


def test_a_tree_is_one_line_a_job() -> None:
    tree = drawn("a\n└── b", "\x1b]0;pwned\a\x1b[31mred \u202egnp.exe", "x" * 100).tree
    assert tree.splitlines() == [
        "a └── b",
        "├── a └── b · red gnp.exe",
        f"│   └── {'x' * 59}… → there",
        "└── there · echo",
    ]


@pytest.mark.browser
def test_jupyterlab_draws_it(lab: Lab) -> None:
    """Every hostile word is a box that shows it, and nothing else is in the picture, in ours nor in Mermaid's."""
    quoted = "\n".join(f"    - {{id: {_quoted(text)}}}" for text in HOSTILE)
    cell = f"%%compose review --diagram\nworkflow:\n  title: Review\n  jobs:\n{quoted}\n{WRITER}"
    drawn = 'display({"text/vnd.mermaid": str(review.diagram())}, raw=True)'
    lab.open(["%load_ext composemagic", cell, drawn])
    lab.run(0)
    lab.run(1)
    lab.wait_for("document.querySelector('.jp-RenderedHTMLCommon svg rect')", "our picture")
    boxes = lab.eval("() => [...document.querySelectorAll('svg > g > title')].map((one) => one.textContent)")
    assert boxes == [f"{' '.join(text.split())}: echo writer" for text in HOSTILE]
    assert not lab.eval("() => document.querySelector('.jp-OutputArea-output').querySelector('a, img, script, iframe')")
    lab.run(2)
    lab.wait_for("document.querySelector('.jp-RenderedMermaid img')", "Mermaid's picture", timeout=60)
    [told] = lab.outputs(1)
    assert told["output_type"] == "display_data"
    assert "".join(told["data"]["text/plain"]).startswith("Review\n├── ")
    [output] = lab.outputs(2)
    picture = "".join(output["data"]["image/svg+xml"])
    assert not re.search(r"<(script|a|img|i|iframe|math)[\s>]", picture)
    labels = re.findall(r'<span class="nodeLabel[^"]*"><p>(.*?)</p></span>', picture, re.DOTALL)
    shown = [html.unescape(label).partition("<br")[0].replace("\u200b", "") for label in labels]
    assert shown == [" ".join(text.split()) for text in HOSTILE]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
