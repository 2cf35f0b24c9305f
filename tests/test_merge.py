"""Several files -> one document: what wins, and whose line a mistake shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import composemagic
from composemagic.api import load_all, load_text
from composemagic.errors import DocumentError, UsageError
from composemagic.language.document import MAX_NODES
from composemagic.workflow.merge import Sources, Text, read


def merged(*texts: str) -> Sources:
    names = [f"{name}.yml" for name in "abcdef"]
    return read([Text(text, name) for text, name in zip(texts, names, strict=False)])


TREES: dict[str, tuple[list[str], str]] = {
    "one alone": (["a: {b: 1}"], "a: {b: 1}"),
    "objects merge deeply": (["a: {b: {c: 1, d: 2}, e: 3}", "a: {b: {d: 4, f: 5}}"], "a: {b: {c: 1, d: 4, f: 5}, e: 3}"),
    "lists are replaced": (["a: [1, 2, 3]", "a: [4]"], "a: [4]"),
    "an object takes a value's place": (["a: 1", "a: {b: 2}"], "a: {b: 2}"),
    "a value takes an object's place": (["a: {b: 2}", "a: text"], "a: text"),
    "null removes": (["a: {b: 1, c: 2}", "a: {b: null}"], "a: {c: 2}"),
    "null removes a whole part": (["a: {b: 1}\nc: 1", "a:"], "c: 1"),
    "null where there is nothing stays": (["a: 1", "b:"], "{a: 1, b: null}"),
    "null in the first file stays": (["a: {b: }", "a: {c: 1}"], "a: {b: null, c: 1}"),
    "what was removed may come again": (["a: {b: 1}", "a: null", "a: {c: 2}"], "a: {c: 2}"),
    "three files": (["a: 1", "a: 2\nb: 1", "b: 3"], "{a: 2, b: 3}"),
    "plural over singular": (["component: {type: a}", "components: [{type: b}]"], "components: [{type: b}]"),
    "singular over plural": (["workflows: [{id: a}]\nx: 1", "workflow: {id: b}"], "{x: 1, workflow: {id: b}}"),
    "jobs over a job": (["workflow: {job: {}, title: t}", "workflow: {jobs: [1]}"], "workflow: {title: t, jobs: [1]}"),
    "by id": (["workflows: {w: {job: {}}}", "workflows: {w: {jobs: [1]}}"], "workflows: {w: {jobs: [1]}}"),
    "actions over an action": (["component: {action: {}}", "component: {actions: []}"], "component: {actions: []}"),
    "an adapter over adapters": (["controller: {adapters: []}", "controller: {adapter: {}}"], "controller: {adapter: {}}"),
    "inside of a body both may stand": (
        ["component: {body: {job: 1, action: 1}}", "component: {body: {jobs: 2, actions: 2}}"],
        "component: {body: {job: 1, action: 1, jobs: 2, actions: 2}}",
    ),
    "of an inline component": (
        ["workflow: {job: {component: {action: {}}}}", "workflow: {job: {component: {actions: []}}}"],
        "workflow: {job: {component: {actions: []}}}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees_merge(name: str) -> None:
    texts, wanted = TREES[name]
    before = [yaml.safe_load(text) for text in texts]
    found = merged(*texts)
    assert found.data == yaml.safe_load(wanted)
    assert [document.data for document in found.documents] == before, "the files' own trees are left as they are"


def test_what_took_the_place_of_another_spelling_is_said() -> None:
    found = merged("component: {type: a}", "x: 1\ncomponents: [{type: b}]", "workflow: {}")
    assert found.notes == ("`components` of b.yml, line 2, takes the place of `component` of an earlier file",)
    assert merged("component: {}", "component: {}").notes == ()


BASE = """\
workflow:
  title: Base
  job: {component: say, input: "${input}"}
components:
  say: {type: echo, text: "Hello ${input.name}"}
  other: {type: echo, text: "${input.x}"}
"""


def mistakes(*texts: str) -> str:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(list(texts))
    return str(caught.value)


def files(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / f"{name}.yml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_a_later_file_completes_and_changes_an_earlier_one(tmp_path: Path) -> None:
    change = "workflow: {title: Changed}\ncomponents: {say: {text: 'Bye ${input.name}'}, other: null}\n"
    paths = files(tmp_path, base=BASE, change=change)
    workflow = composemagic.load(paths)
    assert (workflow.title, [one.name for one in workflow.inputs]) == ("Changed", ["name"])
    assert workflow(name="Ada").output == "Bye Ada"
    assert workflow.notes == ("read as: `components` as a mapping -> a list with ids; "
                              "an action's fields on the component -> `action`",)  # fmt: skip
    assert [one.title for one in load_all(paths)] == ["Changed"]
    assert composemagic.load([str(path) for path in paths]).title == "Changed"


def test_a_cell_is_the_last(tmp_path: Path) -> None:
    (base,) = files(tmp_path, base=BASE)
    workflow = load_text("workflow: {title: Cell}\n", "this cell", files=[base])
    assert workflow.title == "Cell"


def test_an_older_dialect_is_read_in_the_merged_tree(tmp_path: Path) -> None:
    """The path stands in one file, the type that makes it an action's in the other."""
    one = "component: {type: http-client, base_url: 'http://127.0.0.1:1'}\n"
    two = "component: {path: /a, body: {prompt: '${input.prompt}'}}\n"
    assert [one.name for one in composemagic.load(files(tmp_path, one=one, two=two)).inputs] == ["prompt"]


def test_a_mistake_is_drawn_in_its_own_file(tmp_path: Path) -> None:
    base = "workflow:\n  job: {input: '${inptu}'}\ncomponent:\n  type: echo\n  txt: a\n"
    change = "\n\ncomponent:\n  value: ${oputput}\n"
    paths = files(tmp_path, base=base, change=change)
    with pytest.raises(DocumentError) as caught:
        composemagic.load(paths)
    assert str(caught.value) == (
        f"compose: 3 mistakes in {paths[0]} and {paths[1]}\n"
        "  unknown source `inptu`; did you mean `input`?\n"
        "base.yml:2 |   job: {input: '${inptu}'}\n"
        "                               ^^^^^\n"
        "  unknown key `txt` in an echo component; did you mean `text`?\n"
        "base.yml:5 |   txt: a\n"
        "               ^^^\n"
        "  unknown source `oputput`; did you mean `input.oputput`?\n"
        "change.yml:4 |   value: ${oputput}\n"
        "                          ^^^^^^^"
    )
    assert [mistake.mark.number for mistake in caught.value.mistakes if mistake.mark] == [2, 5, 4]


def test_one_file_alone_is_drawn_without_its_name(tmp_path: Path) -> None:
    (path,) = files(tmp_path, a="component: {type: ecco}\n")
    for source in (path, [path]):
        with pytest.raises(DocumentError) as caught:
            composemagic.load(source)
        assert str(caught.value).startswith(f"compose: 1 mistake in {path}\n")
        assert "\n   1 | component" in str(caught.value)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "compose.yml" for folder in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("component: {type: echo}\n", encoding="utf-8")
    paths[1].write_text("component: {txt: a}\n", encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        composemagic.load(paths)
    assert f"\n{Path('two') / 'compose.yml'}:1 | component" in str(caught.value)


def test_all_files_are_read_before_their_mistakes_are_shown() -> None:
    drawn = mistakes("a: [\n", "b: {\n", "c: 1\n")
    assert "this text (1):" in drawn
    assert "this text (2):" in drawn


MISTAKES: dict[str, tuple[list[str], str]] = {
    "singular and plural in one file": (
        ["component: {type: echo}", "component: {type: echo}\ncomponents: [{type: echo}]"],
        "`component` and `components` are both given; write one of them\nthis text (2):1 |",
    ),
    "what is missing is drawn in the file that came last": (
        ["component: {id: a}", "component: {id: b}"],
        "a component needs `type`, such as `type: http-client`\nthis text (2):1 |",
    ),
    "a list in one, an object in the other": (
        ["components: {a: {type: echo}}", "components: [{type: ecco}]"],
        "unknown component type `ecco`; did you mean `echo`?\nthis text (2):1 |",
    ),
    "two of one id": (
        ["components: [{id: a, type: echo}, {id: a, type: echo}]", "workflow: {title: x}"],
        "two components are called `a`\nthis text (1):1 |",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_several_files(name: str) -> None:
    texts, wanted = MISTAKES[name]
    assert wanted in mistakes(*texts)


def test_a_key_is_found_in_a_part_that_a_later_file_replaces() -> None:
    drawn = mistakes("component: {type: echo, text: sk-proj-0123456789abcdefABCDEF}", "component: {text: hi}")
    assert "a key stands in the YAML" in drawn
    assert "this text (1):1 |" in drawn
    assert "0123456789" not in drawn


def test_the_bounds_hold_for_the_merged_tree() -> None:
    half = "".join(f"  k{at}: 1\n" for at in range(MAX_NODES // 4 + 1))
    texts = [f"x-{name}:\n{half}" for name in "ab"]
    assert len(read([Text(texts[0], "a")]).data["x-a"]) > MAX_NODES // 4
    with pytest.raises(DocumentError, match="more than 20,000 values in all files together"):
        merged(*texts)


def test_a_null_that_removes_makes_room() -> None:
    many = "x-a:\n" + "\n".join(f"  k{at}: 1" for at in range(MAX_NODES // 2 - 10)) + "\n"
    assert merged(many, "x-a: null\n", many.replace("x-a", "x-b")).data.keys() == {"x-b"}


ODD: list[tuple[Any, str]] = [
    ([], "`load` takes YAML text or the paths of files; this list is empty"),
    ([None], "`load` takes YAML text or the path of a file, not None"),
    (["missing.yml"], "there is no file `missing.yml`"),
    (3, "`load` takes YAML text or the path of a file, not int"),
]


@pytest.mark.parametrize(("source", "sentence"), ODD)
def test_what_is_nothing_to_load(source: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        composemagic.load(source)
    assert caught.value.args == (sentence,)


def test_the_environment_file_lies_beside_the_first_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / ".env").write_text(f"CM_WHICH={folder.name}\n", encoding="utf-8")
    paths = files(first, a="component: {type: echo, value: '${env.CM_WHICH}'}\n") + files(
        second, b="workflow: {title: b}\n"
    )
    assert composemagic.load(paths)().output == "first"
