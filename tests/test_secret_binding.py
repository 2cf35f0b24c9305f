"""Where a secret may go: its own host, in a header; elsewhere only what was allowed, or answered when asked."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.allowance import destination
from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.language.secret import Secret, made
from composemagic.transport import remembered
from composemagic.transport.binding import OWN_HOSTS, Use, is_permitted, origin_of, own_hosts, question, uses
from composemagic.workflow.environment import Environment

KEY = "sk-canary-0123456789abcdef"
SEED = (Path(__file__).parent / "data" / "seed.yml").read_text(encoding="utf-8")


class Net(httpx.AsyncBaseTransport):
    """Keeps what it is asked, and answers."""

    def __init__(self, answer: Any = None) -> None:
        self.asked: list[httpx.Request] = []
        self.bodies: list[bytes] = []
        self.answer = {"ok": True} if answer is None else answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.bodies.append(await request.aread())
        return httpx.Response(200, json=self.answer)

    @property
    def everything(self) -> str:
        return "".join(
            f"{request.url} {request.headers.raw!r} {body!r}"
            for request, body in zip(self.asked, self.bodies, strict=True)
        )


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in list(os.environ):
        if name.endswith(("_BASE_URL", "_API_KEY", "_ENDPOINT")):
            monkeypatch.delenv(name)
    yield


def ended(action: str, net: Net, env: dict[str, str] | None = None, value: Any = None, **how: Any) -> Run:
    yaml = "component:\n  type: http-client\n" + "".join(f"  {line}\n" for line in action.splitlines())
    workflow = composemagic.load(yaml, transport=net, env={"OPENAI_API_KEY": KEY} if env is None else env)
    run = workflow.start({} if value is None else value, **how)
    assert run.wait(60)
    return run


def refused(run: Run) -> str:
    assert run.status == "failed" and run.error is not None
    assert run.error.kind == "not_allowed"
    return run.error.sentence


BEARER = "headers: {Authorization: 'Bearer ${env.OPENAI_API_KEY}'}"

# -- the seed ------------------------------------------------------------------------------------------------------------


def test_the_seed_workflow_needs_no_question() -> None:
    net = Net({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})
    run = composemagic.load(SEED, transport=net, env={"OPENAI_API_KEY": KEY}).start({"prompt": "hi"}, consents=True)
    assert run.wait(60)
    assert [request.url.host for request in net.asked] == ["api.openai.com"]
    assert net.asked[0].headers["authorization"] == f"Bearer {KEY}"


ELSEWHERE = [
    ("https://api.openai.com", "https://evil.example"),
    ("https://api.openai.com", "http://api.openai.com"),
    ("https://api.openai.com", "https://api.openai.com:8443"),
    ("https://api.openai.com", "https://api.openai.com.evil.example"),
    ("https://api.openai.com", "https://evil.openai.com"),
    ("https://api.openai.com", "https://api.openai.com."),
    ("https://api.openai.com", "https://api.anthropic.com"),
    ("https://api.openai.com", "https://evil.example/api.openai.com"),
    ("https://api.openai.com", "https://evil.example#api.openai.com"),
    ("https://api.openai.com", "https://evil.example\\\\@api.openai.com"),
    ("https://api.openai.com", "http://127.0.0.1.nip.io"),
    ("https://api.openai.com", "http://10.0.0.5:8000"),
]


@pytest.mark.parametrize(("own", "other"), ELSEWHERE)
def test_a_copied_document_cannot_send_the_key_elsewhere(own: str, other: str) -> None:
    assert own in SEED
    net = Net()
    try:
        workflow = composemagic.load(SEED.replace(own, other), transport=net, env={"OPENAI_API_KEY": KEY})
    except composemagic.DocumentError:
        return
    run = workflow.start({"prompt": "hi"})
    assert run.wait(60) and run.status == "failed" and run.error is not None
    assert not net.asked and KEY not in repr(run.events) + str(run.error)


def test_the_refusal_says_the_line_that_allows_it() -> None:
    net = Net()
    action = f"endpoint: https://llm.example/v1\n{BEARER}"
    sentence = refused(ended(action, net))
    line = 'composemagic.allow("OPENAI_API_KEY", "https://llm.example")'
    assert line in sentence and "--allow OPENAI_API_KEY=https://llm.example" in sentence and not net.asked
    undo = eval(line, {"composemagic": composemagic})
    assert ended(action, net).status == "done" and net.asked[0].headers["authorization"] == f"Bearer {KEY}"
    undo()
    undo()
    refused(ended(action, net))
    assert len(net.asked) == 1


def test_the_refusal_shows_the_line_of_the_document() -> None:
    run = ended(f"endpoint: https://llm.example/v1\n{BEARER}", Net())
    assert run.error is not None and run.error.mark is not None
    assert "^" in str(run.error)


def test_nothing_that_fails_so_is_tried_again() -> None:
    yaml = (
        "workflow: {job: {retry: 3, on_error: {output: 'instead'}}}\n"
        f"component: {{type: http-client, endpoint: 'https://llm.example/', {BEARER}}}\n"
    )
    net = Net()
    try:
        run = composemagic.load(yaml, transport=net, env={"OPENAI_API_KEY": KEY}).start({})
    except composemagic.DocumentError:
        pytest.skip("retry is written otherwise here")
    assert run.wait(60)
    refused(run)


# -- places --------------------------------------------------------------------------------------------------------------

OWN = "https://api.openai.com"
PLACES = [
    (f"endpoint: {OWN}/v1\n{BEARER}", "header", None),
    (f"endpoint: {OWN}/v1\nheaders: {{x-api-key: '${{env.OPENAI_API_KEY}}'}}", "header", None),
    (f"endpoint: {OWN}/v1\nbody: {{key: '${{env.OPENAI_API_KEY}}'}}", "body", "body"),
    (f"endpoint: {OWN}/v1\nbody: {{deep: [{{key: 'a ${{env.OPENAI_API_KEY}} b'}}]}}", "body", "body"),
    (f"endpoint: {OWN}/v1\nbody: 'key=${{env.OPENAI_API_KEY}}'", "body", "body"),
    (f"endpoint: {OWN}/v1\nparams: {{key: '${{env.OPENAI_API_KEY}}', q: a b}}", "query", "query"),
    (f"endpoint: {OWN}/v1\nparams: {{key: ['${{env.OPENAI_API_KEY}}']}}", "query", "query"),
    (f"endpoint: {OWN}/v1?key=${{env.OPENAI_API_KEY}}", "query", "query"),
    (f"base_url: {OWN}\npath: /v1?key=${{env.OPENAI_API_KEY}}", "query", "query"),
    (f"base_url: {OWN}\npath: /bot${{env.OPENAI_API_KEY}}/send", "path", "path"),
    (f"endpoint: {OWN}/bot${{env.OPENAI_API_KEY}}/send", "path", "path"),
    (f"base_url: {OWN}/bot${{env.OPENAI_API_KEY}}\npath: /send", "path", "path"),
]


@pytest.mark.parametrize(("action", "where", "place"), PLACES)
def test_other_places_than_a_header_need_a_word(action: str, where: str, place: str | None) -> None:
    net = Net()
    if place is not None:
        sentence = refused(ended(action, net))
        line = f'composemagic.allow("OPENAI_API_KEY", "{OWN}", place="{place}")'
        assert line in sentence and not net.asked
        # a word for another place, or another host, is none for this one
        others = [
            composemagic.allow("OPENAI_API_KEY", OWN, place=one) for one in ("body", "query", "path") if one != place
        ]
        others.append(composemagic.allow("OPENAI_API_KEY", "https://other.example", place=place))
        refused(ended(action, net))
        for undo in others:
            undo()
        undo = composemagic.allow("OPENAI_API_KEY", OWN, place=place)
    run = ended(action, net)
    if place is not None:
        undo()
    assert run.status == "done", run.error
    (request,) = net.asked
    found = {
        "header": any(KEY in value for value in request.headers.values()),
        "body": KEY.encode() in net.bodies[0],
        "query": KEY in request.url.query.decode(),
        "path": KEY in request.url.path,
    }
    assert {one for one, is_there in found.items() if is_there} == {where}
    assert KEY not in repr(run.events)


HOSTS = [
    "endpoint: https://${env.OPENAI_API_KEY}.evil.example/",
    "endpoint: https://${env.OPENAI_API_KEY}/",
    "endpoint: https://api.openai.com:${env.OPENAI_API_KEY}/",
    "endpoint: https://api.openai.com${env.OPENAI_API_KEY}",
    "endpoint: https://${env.OPENAI_API_KEY}@api.openai.com/",
    "endpoint: ${env.OPENAI_API_KEY}",
    "base_url: ${env.OPENAI_API_KEY}\npath: /x",
    "base_url: https://x.${env.OPENAI_API_KEY}\npath: /x",
]


@pytest.mark.parametrize("action", HOSTS)
@pytest.mark.parametrize("key", [KEY, "sk-1@evil.example", "sk-/../evil", "https://api.openai.com/sk-", "a1", "b2"])
def test_never_in_the_name_of_a_host(action: str, key: str) -> None:
    net = Net()
    undo = [composemagic.allow("OPENAI_API_KEY", OWN, place=place) for place in ("header", "path", "query", "body")]
    run = ended(action, net, {"OPENAI_API_KEY": key})
    for one in undo:
        one()
    assert run.status == "failed" and run.error is not None and not net.asked
    assert run.error.kind == "secret" and (len(key) < 8 or key not in repr(run.events) + str(run.error))


NOWHERE = [
    "api.openai.com/v1",
    "ftp://api.openai.com/",
    "https://",
    "//api.openai.com/",
    "https:api.openai.com",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("address", NOWHERE)
def test_what_is_no_address_is_said_so(address: str) -> None:
    net = Net()
    try:
        run = ended(f"endpoint: '{address}'\n{BEARER}", net)
    except composemagic.DocumentError:
        return
    assert (
        run.error is not None and run.error.kind == "url" and "is no http:// or https:// address" in run.error.sentence
    )
    assert not net.asked


def test_the_headers_of_another_component_are_bound_as_well() -> None:
    yaml = f"component: {{type: mcp-client, url: 'https://evil.example/mcp', tool: x, {BEARER}}}"
    run = composemagic.load(yaml, env={"OPENAI_API_KEY": KEY}).start({})
    assert run.wait(60)
    assert 'composemagic.allow("OPENAI_API_KEY", "https://evil.example")' in refused(run)


def test_loopback_gets_it_in_a_header() -> None:
    for address in ("http://127.0.0.1:9/", "http://localhost:1/", "http://[::1]:2/", "https://127.0.0.9/"):
        net = Net()
        assert ended(f"endpoint: '{address}'\n{BEARER}", net).status == "done", address
        assert net.asked[0].headers["authorization"] == f"Bearer {KEY}"
    refused(ended("endpoint: http://127.0.0.1:9/\nbody: {k: '${env.OPENAI_API_KEY}'}", Net()))


def test_variables_without_a_secret_are_free() -> None:
    net = Net()
    env = {"MODEL": "gpt-4o", "PORT": "8080", "OPENAI_BASE_URL": "https://llm.example/v1"}
    action = (
        "base_url: ${env.OPENAI_BASE_URL}\npath: /${env.MODEL}\nparams: {p: '${env.PORT}'}\nbody: {m: '${env.MODEL}'}"
    )
    assert ended(action, net, env).status == "done"
    assert str(net.asked[0].url) == "https://llm.example/v1/gpt-4o?p=8080"


def test_the_secret_of_another_job_is_bound_as_well() -> None:
    """What templates carry from job to job stays what it is."""
    yaml = """
workflow:
  jobs:
    - {id: first, component: say, input: {n: 1}, output: {text: "Bearer ${env.OPENAI_API_KEY}"}}
    - {id: second, component: web, input: {auth: "${jobs.first.output.text}", to: "${input.to}"}}
components:
  - {id: say, type: echo, value: 1}
  - {id: web, type: http-client, endpoint: "${input.to}", headers: {Authorization: "${input.auth}"}}
"""
    net = Net()
    workflow = composemagic.load(yaml, transport=net, env={"OPENAI_API_KEY": KEY})
    run = workflow.start({"to": "https://evil.example/"})
    assert run.wait(60)
    assert "evil.example" in refused(run) and not net.asked
    run = workflow.start({"to": f"{OWN}/"})
    assert run.wait(60) and run.status == "done", run.error
    assert net.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(run.jobs) and KEY not in repr(run.events)


def test_basic_authentication() -> None:
    net = Net()
    yaml = "\n".join(
        [
            "workflow: {job: {input: {pair: '${env.SHOP_USER}:${env.SHOP_PASSWORD}'}}}",
            "component: {type: http-client, endpoint: 'http://127.0.0.1/', headers: {Authorization: 'Basic ${input.pair as base64}'}}",
        ]
    )
    run = composemagic.load(yaml, transport=net, env={"SHOP_USER": "ada", "SHOP_PASSWORD": "lovelace1"}).start({})
    assert run.wait(60) and run.status == "done", run.error
    assert net.asked[0].headers["authorization"] == "Basic YWRhOmxvdmVsYWNlMQ=="


def test_a_result_is_not_asked_for_at_a_host_that_the_answer_names() -> None:
    net = Net({"id": "7", "at": "https://evil.example/result"})
    action = f"""endpoint: {OWN}/v1
{BEARER}
completion: {{type: polling, endpoint: "${{response.at}}", interval: 1ms, timeout: 5s}}
output: ${{result}}"""
    assert "evil.example" in refused(ended(action, net))
    assert [request.url.host for request in net.asked] == ["api.openai.com"]


# -- which host is a variable's own ----------------------------------------------------------------------------------------

FROM_ADDRESS = [
    ("MY_API_KEY", {"MY_BASE_URL": "https://llm.example/v1"}, ("https://llm.example",)),
    ("MY_API_KEY", {"MY_BASE_URL": "http://10.1.2.3:8000"}, ("http://10.1.2.3:8000",)),
    ("MY_API_KEY", {"MY_BASE_URL": "https://LLM.Example:443/v1?x"}, ("https://llm.example",)),
    ("MY_API_KEY", {"OTHER_BASE_URL": "https://llm.example"}, ()),
    ("MY_API_KEY", {"MY_BASE_URL": "llm.example"}, ()),
    ("MY_API_KEY", {"MY_BASE_URL": "ftp://llm.example"}, ()),
    ("MY_API_KEY", {"MY_BASE_URL": "https://u:p@llm.example"}, ()),
    ("MY_API_KEY", {"MY_ENDPOINT": "https://llm.example"}, ()),
    ("MY_TOKEN", {"MY_TOKEN_BASE_URL": "https://llm.example", "MY_BASE_URL": "https://llm.example"}, ()),
    (
        "AZURE_OPENAI_API_KEY",
        {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"},
        ("https://me.openai.azure.com",),
    ),
    ("XAI_API_KEY", {}, ("https://api.x.ai",)),
    ("XAI_API_KEY", {"XAI_BASE_URL": "https://eu.x.ai"}, ("https://api.x.ai", "https://eu.x.ai")),
]


@pytest.mark.parametrize(("name", "env", "hosts"), FROM_ADDRESS)
def test_own_hosts(name: str, env: dict[str, str], hosts: tuple[str, ...]) -> None:
    assert own_hosts(name, env) == hosts


@pytest.mark.parametrize("name", OWN_HOSTS)
def test_the_table_is_of_secret_names_and_plain_hosts(name: str) -> None:
    from composemagic.language.secret import is_secret

    assert is_secret(name, "x") and OWN_HOSTS[name]
    for host in OWN_HOSTS[name]:
        assert origin_of(f"https://{host}/v1") == f"https://{host}" == destination(host)
        assert is_permitted(Use(name, f"https://{host}", "header"), {})
        for origin in (f"http://{host}", f"https://{host}:444", f"https://x.{host}", f"https://{host}.x"):
            assert not is_permitted(Use(name, origin, "header"), {}), origin
        for place in ("body", "query", "path"):
            assert not is_permitted(Use(name, f"https://{host}", place), {})


def test_a_base_url_of_the_user_binds_his_key() -> None:
    net = Net()
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://llm.example/v1"}
    assert ended(f"base_url: ${{env.OPENAI_BASE_URL}}\npath: /x\n{BEARER}", net, env).status == "done"
    assert net.asked[0].url.host == "llm.example"


def test_a_file_beside_the_document_does_not_lead_the_users_key_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hands out a document may hand out a `.env` with it."""
    folder = tmp_path / "handed-out"
    folder.mkdir()
    (folder / "compose.yml").write_text(
        f"component: {{type: http-client, endpoint: 'https://llm.example/', {BEARER}}}\n"
    )
    (folder / ".env").write_text("OPENAI_BASE_URL=https://llm.example\n")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    net = Net()
    run = composemagic.load(folder / "compose.yml", transport=net).start({})
    assert run.wait(60)
    refused(run)
    monkeypatch.delenv("OPENAI_API_KEY")
    (folder / ".env").write_text(f"OPENAI_BASE_URL=https://llm.example\nOPENAI_API_KEY={KEY}\n")
    run = composemagic.load(folder / "compose.yml", transport=net).start({})
    assert run.wait(60) and run.status == "done", run.error


NEARNESS = [  # where the address and the key come from: `-e`, the process, the `.env` beside the document; is it the key's own?
    ("given", "process", True),
    ("given", "file", True),
    ("process", "given", True),
    ("process", "file", True),
    ("file", "file", True),
    ("file", "process", False),
    ("file", "given", False),
]


@pytest.mark.parametrize(("address", "key", "is_own"), NEARNESS)
def test_an_address_binds_a_key_that_comes_from_no_nearer(
    address: str, key: str, is_own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env: dict[str, str] = {}
    lines: list[str] = []
    for name, value, place in (("MY_BASE_URL", "https://llm.example", address), ("MY_API_KEY", KEY, key)):
        if place == "process":
            monkeypatch.setenv(name, value)
        elif place == "given":
            env[name] = value
        else:
            lines.append(f"{name}={value}\n")
    (tmp_path / ".env").write_text("".join(lines))
    environment = Environment(env, [tmp_path / ".env"])
    assert is_permitted(Use("MY_API_KEY", "https://llm.example", "header"), environment) is is_own


# -- what a request would carry ----------------------------------------------------------------------------------------------


def test_uses() -> None:
    a, b = Secret.of("A_KEY", "x"), Secret.of("B_KEY", "y")
    url = made(lambda one, two: f"https://h/{one}?q={two}", a, "2")
    assert uses(url, {"h": b, "i": "1"}, {"x": [a, {"y": made(lambda *t: "".join(t), a, b)}]}) == (
        Use("A_KEY", "https://h", "path"),
        Use("B_KEY", "https://h", "header"),
        Use("A_KEY", "https://h", "body"),
        Use("B_KEY", "https://h", "body"),
    )
    assert uses("https://h/", {}, None) == ()


def test_all_secrets_in_the_host_of_an_address_are_named() -> None:
    url = made(lambda one, two: f"https://{one}.{two}/", Secret.of("A_KEY", "x"), Secret.of("B_KEY", "y"))
    with pytest.raises(composemagic.RunError, match="`A_KEY, B_KEY` is a secret and cannot stand in the host"):
        uses(url, {}, None)


@pytest.mark.parametrize(
    ("place", "words"), [("header", ""), *((place, f" in its {place}") for place in ("body", "query", "path"))]
)
def test_the_question_says_where_a_secret_would_go(place: str, words: str) -> None:
    asked = (
        f"May the secret `A_KEY` be sent to https://h{words}? Answer yes or no; a yes is remembered on this computer."
    )
    assert question(Use("A_KEY", "https://h", place)) == asked


# -- allow -----------------------------------------------------------------------------------------------------------------

DESTINATIONS = [
    ("https://api.example", "https://api.example"),
    ("https://api.example/v1/x?y#z", "https://api.example"),
    ("API.Example", "https://api.example"),
    ("https://api.example:443", "https://api.example"),
    ("http://api.example:80/", "http://api.example"),
    ("http://api.example:8080", "http://api.example:8080"),
    ("api.example:8443", "https://api.example:8443"),
    ("http://[::1]:5", "http://[::1]:5"),
    ("localhost", "https://localhost"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("shell", "shell"),
    ("http-server", "http-server"),
    ("", None),
    ("ftp://x", None),
    ("https://", None),
    ("https://u@h", None),
    ("https://h:99999", None),
    ("https://h:x", None),
    ("file:///etc/passwd", None),
]


@pytest.mark.parametrize(("written", "meant"), DESTINATIONS)
def test_destinations(written: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(UsageError, match="is no host that a secret can go to"):
            composemagic.allow("A_KEY", written)
    else:
        assert destination(written) == meant
        assert meant.isalpha() or "://" not in meant or origin_of(meant) == meant


def test_allow_knows_its_words() -> None:
    for words in (("shel",), ("shel", "hook"), ("A_KEY",)):
        with pytest.raises(UsageError, match="`allow` knows `shell`"):
            composemagic.allow(*words)
    with pytest.raises(UsageError, match="a secret's place is `header`"):
        composemagic.allow("A_KEY", "https://h", place="cookie")


def test_what_is_allowed_twice_is_taken_back_twice() -> None:
    use = Use("A_KEY", "https://h", "header")
    first, second = (composemagic.allow("A_KEY", "https://h", "https://i") for _ in range(2))
    first()
    assert is_permitted(use, {})
    second()
    assert not is_permitted(use, {}) and not is_permitted(Use("A_KEY", "https://i", "header"), {})


# -- asking ----------------------------------------------------------------------------------------------------------------

ASKING = f"endpoint: https://llm.example/v1\n{BEARER}"


def asked(action: str, net: Net, answer: Any) -> Run:
    yaml = "component:\n  type: http-client\n" + "".join(f"  {line}\n" for line in action.splitlines())
    run = composemagic.load(yaml, transport=net, env={"OPENAI_API_KEY": KEY}).start({}, consents=True)
    for event in run:
        if isinstance(event, composemagic.Interrupted):
            (point,) = event.points
            assert point.message is not None and "`OPENAI_API_KEY`" in point.message
            run.answer({point.id: answer})
    return run


@pytest.mark.parametrize("answer", ["yes", "Yes ", "y", True])
def test_a_yes_is_remembered(answer: Any) -> None:
    net = Net()
    assert asked(ASKING, net, answer).status == "done"
    kept = remembered.file()
    assert json.loads(kept.read_text())["allowed"] == [
        {"name": "OPENAI_API_KEY", "origin": "https://llm.example", "place": "header"}
    ]
    assert KEY not in kept.read_text()
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert ended(ASKING, net, attended=False).status == "done"  # nobody is asked again
    composemagic.allowance.take_back("OPENAI_API_KEY")
    assert ended(ASKING, net, attended=False).status == "done"
    assert remembered.forget("OPENAI_API_KEY") == 1
    refused(ended(ASKING, net, attended=False))


@pytest.mark.parametrize("answer", ["no", None, "", "yess", False, 1, {"a": "yes"}])
def test_anything_else_is_a_no(answer: Any) -> None:
    net = Net()
    refused(asked(ASKING, net, answer))
    assert not net.asked and not remembered.file().exists()


def test_nobody_is_asked_where_nobody_is() -> None:
    for how in ({"consents": True, "attended": False}, {"consents": True, "auto_resume": True}, {}):
        refused(ended(ASKING, Net(), **how))


def test_several_requests_at_once_ask_once() -> None:
    yaml = f"""
workflow:
  jobs:
    - {{id: each, type: for-each, input: [1, 2, 3, 4], do: {{component: web}}}}
component: {{id: web, type: http-client, endpoint: 'https://llm.example/', {BEARER}}}
"""
    net = Net()
    run = composemagic.load(yaml, transport=net, env={"OPENAI_API_KEY": KEY}).start({}, consents=True)
    questions = 0
    for event in run:
        if isinstance(event, composemagic.Interrupted):
            questions += 1
            run.answer({event.points[0].id: "yes"})
    composemagic.allowance.take_back("OPENAI_API_KEY")
    assert run.status == "done", run.error
    assert (questions, len(net.asked)) == (1, 4)


# -- what is remembered ------------------------------------------------------------------------------------------------------


def test_forgetting() -> None:
    for name, origin in (("A_KEY", "https://a"), ("A_KEY", "https://b"), ("B_KEY", "https://a")):
        remembered.remember(name, origin, "header")
    remembered.remember("A_KEY", "https://a", "header")
    assert len(remembered.answers()) == 3
    assert remembered.forget("A_KEY", "https://a") == 1 and remembered.forget("A_KEY", "https://a") == 0
    assert [tuple(one) for one in remembered.answers()] == [
        ("A_KEY", "https://b", "header"),
        ("B_KEY", "https://a", "header"),
    ]
    assert remembered.forget("A_KEY") == 1 and remembered.forget("C_KEY") == 0
    assert remembered.has("B_KEY", "https://a", "header") and not remembered.has("B_KEY", "https://a", "body")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"allowed": 1}', '{"allowed": [1]}', '{"allowed": [{"name": "A"}]}', "\x00"]
)
def test_a_broken_file_allows_nothing(text: str) -> None:
    remembered.remember("A_KEY", "https://a", "header")
    remembered.file().write_text(text)
    assert remembered.answers() == ()
    remembered.remember("B_KEY", "https://b", "header")
    assert len(remembered.answers()) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_a_file_that_others_may_write_allows_nothing() -> None:
    remembered.remember("A_KEY", "https://a", "header")
    remembered.file().chmod(0o666)
    assert remembered.answers() == ()


def test_a_folder_that_cannot_be_made_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "file"))
    net = Net()
    assert asked(ASKING, net, "yes").status == "done"
    composemagic.allowance.take_back("OPENAI_API_KEY")
