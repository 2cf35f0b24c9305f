"""Runs with jobs, objects, waits and questions in a real JupyterLab: what a user sees and clicks."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.lab import Lab
from tests.servers.chat import ChatServer
from tests.test_notebook_lab import BAD, FIRE, LINKS, LOAD, only_copy
from tests.test_view import ASKING, FAILING

pytestmark = pytest.mark.browser

STREAMING = """\
%%compose -o answer
workflow:
  title: A report
  output:
    facts: ${jobs.facts.output as stream/text}
    sources: [{name: Ada, year: 1843}]
    summary: ${jobs.summary.output as stream/text}
  jobs:
  - id: facts
    component: {type: echo, action: {text: "Ada *wrote* the first program", delay: 0.05}}
  - id: summary
    depends_on: [facts]
    input: x
    component:
      type: http-client
      base_url: BASE
      action:
        path: /v1/chat/completions
        body: {model: m, stream: true, messages: [{role: user, content: x}]}
        stream_format: json
        output: ${response[].choices[0].delta.content}
"""
ASK_ONE = """\
%%compose letter LINE
workflow:
  title: Letter
  job:
    component: {type: echo, action: {value: {to: "${input.to as string | Ada}"}}}
    interrupt: {after: {message: Right?}}
"""
OUTPUT = "[...document.querySelectorAll('.jp-OutputArea')].map((one) => one.innerText).join()"
RETRYING = """\
%%compose
workflow:
  jobs:
  - id: call
    component: {type: http-client, base_url: "http://127.0.0.1:1", action: {path: /}}
    retry: {max_attempt_count: 2, delay: 6s}
    on_error: ignore
  - id: after
    depends_on: [call]
    component: {type: echo, action: {text: at last, delay: 2}}
"""


def test_jobs_and_streams_are_seen_while_they_run_and_fold_at_the_end(lab: Lab) -> None:
    with ChatServer() as server:
        server.hold = threading.Event()  # its first word, and the others when they are asked for
        base = server.plays("summary", {"text": "All in all a good beginning"})
        lab.open([LOAD, STREAMING.replace("BASE", base)], "jobs.ipynb")
        lab.run(0)
        lab.run(1, wait=False)
        lab.wait_text(1, "All")
        lab.wait_text(1, "2 jobs: 1 running, 1 done")  # in the header, which goes its own way
        during = lab.dom_text(1)
        places = [during.rindex(words) for words in ("✓ facts", "Ada wrote the first program", "▶ summary", "All")]
        assert places == sorted(places)
        server.hold.set()
        lab.wait_done(1)
    lab.wait_text(1, "✓ done")
    after = lab.dom_text(1)
    assert after.index("good beginning") < after.index("✓ done") < after.index("2 jobs: 2 done")
    assert "✓ facts" not in after  # folded
    lab.page.get_by_text("2 jobs: 2 done").click()
    assert "✓ facts" in lab.dom_text(1)
    data = only_copy(lab.save()["cells"][1]["outputs"])
    assert "<td>Ada</td>" in data["text/html"]


def test_a_failed_job_is_seen(lab: Lab) -> None:
    lab.open([LOAD, f"%%compose\n{FAILING}"])
    lab.run(0)
    lab.run(1)
    for words in ("✓ good done", "✗ bad failed", "– late skipped", "compose: Nothing listens"):
        lab.wait_text(1, words)


def test_a_wait_counts_down_and_goes(lab: Lab) -> None:
    lab.open([LOAD, RETRYING])
    lab.run(0)
    lab.run(1, wait=False)
    for seconds in ("[456]", "[123]"):
        lab.wait_for(f"() => /again in {seconds} s \\(1 of 1\\)/.test({OUTPUT})", f"{seconds} seconds to be left")
    lab.wait_text(1, "▶ after")
    lab.wait_for(f"() => !{OUTPUT}.includes('again in')", "the line to go")
    lab.wait_done(1)
    lab.wait_text(1, "✓ done")
    assert "again in" not in lab.dom_text(1)


# -- questions


def areas(lab: Lab, index: int) -> Any:
    return lab._output(index).locator("textarea:visible")


@pytest.mark.parametrize("prefix", ["", "%%time\n"])
def test_questions_are_answered_while_the_cell_runs(lab: Lab, prefix: str) -> None:
    lab.open([LOAD, f"{prefix}%%compose -o answer\n{ASKING}", "print(answer.text)"])
    lab.run(0)
    lab.run_all(wait=False)
    lab.wait_text(1, "May it be sent?")
    lab.wait_text(1, "Go on everywhere")
    lab.wait_text(1, "2 waiting for an answer")
    areas(lab, 1).nth(0).fill("Dear Bob")
    areas(lab, 1).nth(1).fill("{")
    lab.click(1, "Go on")  # the first one
    areas(lab, 1).nth(1).wait_for(state="detached")
    assert areas(lab, 1).nth(0).input_value() == "{"
    lab.click(1, "Go on")
    lab.wait_text(1, "this is no JSON")
    areas(lab, 1).nth(0).fill('{"amount": 5}')
    lab.click(1, "Go on")
    lab.wait_text(2, "Sent: Dear Bob, 5")
    lab.wait_text(1, "2 questions to a person")
    after = lab.dom_text(1)
    assert "→ answered: Dear Bob" in after
    assert "Go on everywhere" not in after
    assert "→ answered: Dear Bob" in only_copy(lab.save()["cells"][1]["outputs"])["text/plain"]


def test_typing_goes_on_while_what_stands_above_changes(lab: Lab) -> None:
    """A picture comes, a question is answered, another one is asked: the keyboard stays where it is, and each key counts."""
    lab.open([LOAD, f"%%compose -o answer\n{ASKING}", "print(answer.text)"])
    lab.run(0)
    lab.slow(0.2)
    lab.run_all(wait=False)
    lab.wait_text(1, "Go on everywhere")
    first, second = areas(lab, 1).nth(0), areas(lab, 1).nth(1)
    first.press("Control+A")
    first.press_sequentially("Dear Bob, the picture comes while I type this", delay=20)
    lab.click(1, "Go on")
    second.press("Control+A")
    second.press_sequentially('{"amount": 5, "why": "the first question goes while I type"}', delay=20)
    lab.wait_for("() => document.querySelector('.jp-OutputArea svg[role=img]')", "the picture")
    second.wait_for(state="detached")  # the second visible one: it is the only one now
    assert areas(lab, 1).input_value() == '{"amount": 5, "why": "the first question goes while I type"}'
    lab.click(1, "Go on")
    lab.wait_text(2, "Sent: Dear Bob, the picture comes while I type this, 5")


def test_what_is_typed_counts_where_no_subshells_are(lab: Lab) -> None:
    """Since 7.4 ipykernel takes what widgets say during an awaited cell, without the `idle` that a page waits for."""
    lab.open([LOAD, f"%%compose -o answer\n{ASKING}", "print(answer.text)"])
    lab.without_subshells()
    lab.run_all(wait=False)
    lab.wait_text(1, "Go on everywhere")
    for area, words in (0, "Dear Bob, key by key"), (1, '{"amount": 5}'):
        areas(lab, 1).nth(area).press("Control+A")
        areas(lab, 1).nth(area).press_sequentially(words)
    lab.click(1, "Go on everywhere (2)")
    lab.wait_text(2, "Sent: Dear Bob, key by key, 5")


def test_a_run_that_asks_is_stopped(lab: Lab) -> None:
    lab.open([LOAD, f"%%compose -o answer\n{ASKING}", "print('goes on', answer.status)"])
    lab.run_all(wait=False)
    lab.wait_text(1, "Go on everywhere")
    lab.click(1, "Stop")
    lab.wait_text(2, "goes on stopped")
    lab.wait_text(1, "→ not answered")


def test_a_form_asks_too(lab: Lab) -> None:
    lab.open([LOAD, ASK_ONE.replace("LINE", "--form -o answer"), "print(answer.output)"])
    lab.run(0)
    lab.run(1)
    lab.click(1, "Run")
    lab.wait_text(1, "Right?")
    lab._output(1).locator("textarea").last.fill('{"to": "Bob"}')
    lab.click(1, "Go on")
    lab.wait_text(1, "→ answered")
    lab.run(2)
    assert lab.dom_text(2) == "{'to': 'Bob'}"


# -- hostile text in every new place, live and saved and opened again

QUIET = """() => {
    const bad = [...document.querySelectorAll('.jp-OutputArea *')].filter((node) =>
        ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'FORM', 'LINK', 'META', 'BASE'].includes(node.tagName)
        || [...node.attributes].some((one) => /^on/i.test(one.name) || /^\\s*javascript:/i.test(one.value))
        || (node.tagName === 'IMG' && !node.src.startsWith('data:image/png;base64,')));
    return [window.__fired ?? 0, bad.map((node) => node.outerHTML.slice(0, 200))];
}"""
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def document(jobs: list[dict[str, Any]], **more: Any) -> str:
    return "%%compose -o answer\n" + json.dumps({"workflow": {"title": BAD, "jobs": jobs, **more}})


def echo(job: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": job, "component": {"type": "echo", "action": action}, **more}


def test_hostile_text_fires_nowhere_in_jobs_values_and_questions(lab: Lab) -> None:
    question = {"message": f"{BAD} {LINKS}", "metadata": {BAD: [LINKS, {LINKS: BAD}], "rows": [{BAD: BAD}]}}
    words = f"{BAD} {LINKS} "
    gone = {"type": "http-client", "base_url": "http://127.0.0.1:1", "action": {"path": "/"}}
    waiting = {"id": LINKS, "component": gone, "retry": {"max_attempt_count": 2, "delay": "0.3s"}, "on_error": "ignore"}
    streams = [echo(f"job{number}", {"text": words, "delay": 0.02}) for number in range(12)]
    pieces = {f"{BAD}{number}": f"${{jobs.job{number}.output as stream/text}}" for number in range(12)}
    values = {
        BAD: {LINKS: [BAD, LINKS]},
        "rows": [{BAD: LINKS}, {BAD: None}],
        "text": f"{BAD}\n{LINKS}",
        "long": BAD * 30,
    }
    cells = [
        LOAD,
        document([echo(BAD, {"value": {BAD: LINKS}}, interrupt={"after": question}), waiting]),
        document(
            streams[:2], output={BAD: "${jobs.job0.output as stream/text}", LINKS: "${jobs.job1.output as stream/text}"}
        ),
        document(streams, output=pieces),
        document([echo(LINKS, {"value": values}), echo("other", {"value": {"more": 1}})]),
        document([echo(BAD, {"value": 1}), {"id": f"b{BAD}", "component": gone}]),
        document([echo("pixel", {"value": PIXEL})], output={BAD: "${output as image/png;base64}"}),
        "answer",
    ]
    lab.open(cells, "hostile-view.ipynb")
    lab.eval("() => { window.__fired = 0; }")
    lab.run(0)
    lab.run(1, wait=False)
    lab.wait_text(1, "Go on")
    assert lab.eval(QUIET) == [0, []]
    assert "<iframe" in lab.dom_text(1)
    areas(lab, 1).nth(0).fill(json.dumps({BAD: BAD}))
    lab.click(1, "Go on")
    lab.wait_done(1)
    lab.wait_text(1, "→ answered")
    for index in range(2, len(cells)):
        lab.run(index)
    lab.wait_for("() => document.querySelector('.jp-OutputArea img')?.naturalWidth === 1", "the picture")
    assert lab.eval(QUIET) == [0, []]
    for index in (2, 3, 4):
        lab.wait_text(index, "<script>")
    lab.save()
    lab.page.reload()
    lab.wait_for("() => document.querySelectorAll('.jp-OutputArea-output').length > 6", "the notebook to be open again")
    assert lab.eval(QUIET) == [0, []]
    assert "<script>" in lab.dom_text(4)
    assert FIRE in lab.dom_text(4)
