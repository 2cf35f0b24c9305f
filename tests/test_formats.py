"""`;base64 ;data-uri ;url ;path`, media, and what is loaded before it can be rendered."""

from __future__ import annotations

from typing import Any

import pytest

from composemagic.language.casts import CastError, cast_problem, convert
from composemagic.language.expression import Cast, Reference, parse
from composemagic.language.formats import LOADED, Media, Unloaded
from composemagic.language.template import Findings, RenderError, compile_template


def cast_of(written: str) -> Cast:
    (reference,) = parse(f"${{x as {written}}}")
    assert isinstance(reference, Reference)
    assert reference.cast is not None
    assert cast_problem(reference.cast) is None
    return reference.cast


DECODED: list[tuple[Any, str, Any]] = [
    ("aGVsbG8=", "text;base64", "hello"), ("aGVs\nbG8=\n", "text;base64", "hello"), ("_-8=", "file;base64", b"\xff\xef"), ("/+8=", "file;base64", b"\xff\xef"),
    ("", "text;base64", ""), ("eyJhIjoxfQ==", "json;base64", {"a": 1}), ("WzFd", "list;base64", [1]), ("NDI=", "integer;base64", 42), ("MS41", "number;base64", 1.5),
    ("dHJ1ZQ==", "boolean;base64", True), (["aGk=", None], "text[];base64", ["hi", None]), (7, "text;base64", "7"), (b"hi", "text;base64", "hi"),
    ("data:,hi%20there", "text;data-uri", "hi there"), ("data:text/plain;base64,aGk=", "text;data-uri", "hi"), ("data:text/plain;charset=utf-8;BASE64,aGk=", "text;data-uri", "hi"),
    ("data:;base64,aGs%3D", "base64;data-uri", "aGs="), ("data:,a\nb", "text;data-uri", "a\nb"), ("aGk=", "select;base64", "aGk="), ("5", "slider/0,9;base64", 5.0), ("x", "any;url", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written", "result"), DECODED)
def test_what_is_encoded_is_decoded_before_the_cast(value: Any, written: str, result: Any) -> None:
    assert convert(value, cast_of(written)) == result


REFUSED: list[tuple[Any, str, str]] = [
    ("Ada", "text;base64", '"Ada" is no base64'), ("é", "file;base64", '"é" is no base64'), ("a=b=", "file;base64", '"a=b=" is no base64'), ("/w==", "text;base64", "the bytes are not UTF-8 text"),
    ("Ada", "text;data-uri", '"Ada" is no data URI, such as `data:text/plain;base64,aGk=`'), ("data:text/plain", "text;data-uri", '"data:text/plain" is no data URI, such as `data:text/plain;base64,aGk=`'),
    ("data:;base64,%ff", "file;data-uri", '"ÿ" is no base64'), ("ftp://x", "file;url", '"ftp://x" is no address that begins with http:// or https://'), ("/etc/passwd", "file;url", '"/etc/passwd" is no address that begins with http:// or https://'),
    ("file:///etc/passwd", "text;url", '"file:///etc/passwd" is no address that begins with http:// or https://'), ("http://x/a", "file;url", "`;url` cannot be used here, where nothing is loaded"), ("a.txt", "text;path", "`;path` cannot be used here, where nothing is loaded"),
    ("Ada", "image", '`image` needs bytes, or text with a format such as `;base64`; this is "Ada"'), (3, "file", "`file` needs bytes, or text with a format such as `;base64`; this is 3"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written", "sentence"), REFUSED)
def test_what_is_not_so_encoded_is_refused(value: Any, written: str, sentence: str) -> None:
    with pytest.raises(CastError) as caught:
        convert(value, cast_of(written))
    assert str(caught.value) == sentence


CONTENT_TYPES = {
    "image/png": "image/png", "image/jpg": "image/jpeg", "image": "application/octet-stream", "audio/mp3": "audio/mpeg", "video/mp4": "video/mp4",
    "model-3d/glb": "model/gltf-binary", "file": "application/octet-stream", "file/pdf": "application/octet-stream", "image/mp3": "application/octet-stream",
}  # fmt: skip


@pytest.mark.parametrize("written", CONTENT_TYPES)
def test_media_are_bytes_that_know_their_type(written: str) -> None:
    found = convert(b"\x89", cast_of(written))
    assert isinstance(found, Media)
    assert (found, found.type, found.content_type) == (b"\x89", written.partition("/")[0], CONTENT_TYPES[written])


def test_a_data_uri_says_what_it_holds() -> None:
    assert convert("data:image/webp;base64,aGk=", cast_of("image;data-uri")).content_type == "image/webp"
    assert convert("data:,hi", cast_of("image/png;data-uri")).content_type == "image/png"


def test_attributes_may_hold_references() -> None:
    template = compile_template("${x as audio/pcm[rate=${input.rate}, name=n-${input.n | 1}]}")
    found = template.render({"x": b"\0", "input": {"rate": 16000}})
    assert found.attrs == (("rate", "16000"), ("name", "n-1"))
    assert [hole.reference.path_text for hole in template.holes] == ["", "rate", "n"]
    assert compile_template("${x as audio/pcm[rate=8000]}").render({"x": b"\0"}).attrs == (("rate", "8000"),)
    assert template.render({"x": None, "input": {}}) is None


# ── loading ──


@pytest.mark.parametrize(
    ("text", "form", "address"),
    [
        ("${x as text;url}", "url", "https://h.example/a b"),
        ("${x as text;url}", "url", "HTTP://h.example"),
        ("${x as text;path}", "path", "notes/a.txt"),
        ("${x as text;path}", "path", "../a"),
    ],
)
def test_what_stands_elsewhere_is_asked_for_once(text: str, form: str, address: str) -> None:
    template, scope = compile_template(text), {"x": address, LOADED: {}}
    with pytest.raises(Unloaded) as caught:
        template.render(scope)
    assert (caught.value.format, caught.value.address) == (form, address)
    caught.value.keep(b"h\xc3\xa9")
    assert template.render(scope) == "hé"
    assert template.render({**scope, LOADED: scope[LOADED]}) == "hé"


def test_a_list_asks_for_one_after_the_other() -> None:
    template, scope = compile_template("${x as file[];path}"), {"x": ["a", None, "b", "a"], LOADED: {}}
    asked = []
    for _ in range(9):
        try:
            found = template.render(scope)
            break
        except Unloaded as wanted:
            asked.append(wanted.address)
            wanted.keep(wanted.address.encode())
    assert (asked, found) == (["a", "b"], [b"a", None, b"b", b"a"])


def test_an_address_that_is_none_and_a_place_where_nothing_is_loaded() -> None:
    with pytest.raises(RenderError, match='`x`: "ftp://a" is no address'):
        compile_template("${x as file;url}").render({"x": "ftp://a", LOADED: {}})
    with pytest.raises(RenderError, match="`x`: `;path` cannot be used here"):
        compile_template("${x as file;path}").render({"x": "a"})


def test_a_default_that_is_loaded_is_no_mistake() -> None:
    findings = Findings()
    template = compile_template("${x as image;url | https://h.example/a.png}", findings=findings)
    assert findings.flaws == []
    with pytest.raises(Unloaded):
        template.render({LOADED: {}})
    compile_template("${x as image;url | a.png}", findings=findings)
    (flaw,) = findings.flaws
    assert flaw.sentence == '"a.png" is no address that begins with http:// or https://, but it is the default of `x`'


# ── passed on as it is ──


@pytest.mark.parametrize(
    ("written", "value", "result"),
    [
        ("text;base64", "aGk=", "aGk="),
        ("integer;base64", "no number", "no number"),
        ("image;url", "https://h/a.png", "https://h/a.png"),
        ("file;data-uri", "data:,x", "data:,x"),
        ("text[];base64", ["aGk=", None], ["aGk=", None]),
        ("text;base64", None, None),
        ("text", 3, "3"),
    ],
)
def test_what_carries_its_own_content_passes_a_terminal_output(written: str, value: Any, result: Any) -> None:
    template = compile_template(f"${{x as {written}}}", skip_decode=True)
    assert template.render({"x": value}) == result


def test_a_terminal_output_is_text_where_it_is_encoded_and_a_file_is_loaded_all_the_same() -> None:
    with pytest.raises(RenderError, match="`x`: `;base64` is said of encoded text, this is 3"):
        compile_template("${x as text;base64}", skip_decode=True).render({"x": 3})
    with pytest.raises(Unloaded):
        compile_template("${x as text;path}", skip_decode=True).render({"x": "a", LOADED: {}})


def test_a_format_that_says_nothing_is_noted() -> None:
    findings = Findings()
    compile_template("${x as select/a,b;base64}", findings=findings)
    assert [note.sentence for note in findings.notes] == ["`;base64` says nothing of the type `select`"]
