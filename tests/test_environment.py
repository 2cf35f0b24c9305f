"""`${env.X}`: `-e`, then the process's environment, then `.env` files, the nearest of which counts."""

from __future__ import annotations

from pathlib import Path

import pytest

import composemagic
from composemagic.errors import DocumentError, UsageError
from composemagic.workflow.environment import Environment


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CM_A", "CM_B", "CM_C"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str, name: str = ".env") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def project(tmp_path: Path) -> Path:
    """A folder two levels below a project's root."""
    write(tmp_path, "", "pyproject.toml")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    return folder


def test_overrides_then_the_process_then_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "CM_A=file\nCM_B=file\nCM_C=file\n")
    monkeypatch.setenv("CM_A", "process")
    monkeypatch.setenv("CM_B", "process")
    env = Environment({"CM_A": "given"}, folder=tmp_path)
    assert [env["CM_A"], env["CM_B"], env["CM_C"]] == ["given", "process", "file"]


def test_a_variable_that_is_empty_is_not_set_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "CM_A=file\nCM_B=\nCM_C\n")  # as in a copy of .env.sample
    for name in ("CM_A", "CM_B"):
        monkeypatch.setenv(name, "")
    env = Environment({"CM_A": "", "CM_C": ""}, folder=tmp_path)
    assert env["CM_A"] == "file"
    assert "CM_B" not in env
    assert env.get("CM_C") is None
    assert env.keys() & {"CM_A", "CM_B", "CM_C"} == {"CM_A"}
    assert len(env) == len(list(env))


def test_a_missing_variable_is_missing(tmp_path: Path) -> None:
    env = Environment({"CM_A": "1"}, folder=project(tmp_path))
    assert "CM_B" not in env
    assert env.get("CM_B") is None
    with pytest.raises(KeyError):
        env["CM_B"]


def test_of_several_files_the_last_one_counts(tmp_path: Path) -> None:
    one, two = write(tmp_path, "CM_A=1\nCM_B=1\n", "one.env"), write(tmp_path, "CM_B=2\n", "two.env")
    env = Environment(files=[one, str(two)], folder=tmp_path)
    assert (env["CM_A"], env["CM_B"]) == ("1", "2")


def test_named_files_stand_in_for_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, "CM_A=nearest\n")
    named = write(tmp_path, "CM_B=named\n", "named.env")
    env = Environment(files=[named], folder=tmp_path)
    assert (env.get("CM_A"), env["CM_B"]) == (None, "named")


def test_a_file_that_is_not_there_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    for missing in (tmp_path / "no.env", tmp_path):
        with pytest.raises(UsageError, match="there is no env file"):
            Environment(files=[missing])


def test_the_nearest_file_up_to_the_projects_root(tmp_path: Path) -> None:
    folder = project(tmp_path)
    assert Environment(folder=folder).get("CM_A") is None
    write(tmp_path, "CM_A=root\n")
    assert Environment(folder=folder)["CM_A"] == "root"
    write(tmp_path / "a", "CM_A=parent\n")
    assert Environment(folder=folder)["CM_A"] == "parent"
    write(folder, "CM_A=here\n")
    assert Environment(folder=folder)["CM_A"] == "here"


def test_above_the_projects_root_nothing_is_read(tmp_path: Path) -> None:
    write(tmp_path, "CM_A=above\n")
    assert Environment(folder=project(tmp_path / "project")).get("CM_A") is None


def test_a_folder_called_env_is_no_file(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / ".env").mkdir()
    write(tmp_path, "CM_A=root\n")
    assert Environment(folder=folder)["CM_A"] == "root"


def test_the_working_directory_is_the_folder_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "CM_A=here\n")
    monkeypatch.chdir(tmp_path)
    assert Environment()["CM_A"] == "here"


def test_a_value_is_what_stands_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, "CM_A=sk-$HOME${X}\nCM_B='a b # c'\nexport CM_C=é # a remark\n")
    env = Environment(folder=tmp_path)
    assert [env["CM_A"], env["CM_B"], env["CM_C"]] == ["sk-$HOME${X}", "a b # c", "é"]


def test_it_is_a_mapping_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "CM_A=1\nCM_B=1\n")
    monkeypatch.setenv("CM_B", "2")
    env = Environment({"CM_C": "3"}, folder=tmp_path)
    assert {name: env[name] for name in env if name.startswith("CM_")} == {"CM_A": "1", "CM_B": "2", "CM_C": "3"}
    assert len(env) == len(list(env))


def test_the_process_is_asked_each_time_and_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "CM_A=1\n")
    env = Environment(folder=tmp_path)
    assert (env["CM_A"], env.get("CM_B")) == ("1", None)
    file.write_text("CM_A=2\n")
    monkeypatch.setenv("CM_B", "later")
    assert (env["CM_A"], env["CM_B"]) == ("1", "later")


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"CM_A=\xff\xfe\n")
    with pytest.raises(UsageError, match=r"cannot be read"):
        Environment(folder=tmp_path).get("CM_A")


def test_the_variable_that_the_process_has_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_bytes(b"\xff")
    monkeypatch.setenv("CM_A", "process")
    assert Environment(folder=tmp_path)["CM_A"] == "process"


# ── when it is asked ──

LAZY = "components: [{id: a, type: echo, value: '${env.CM_A}'}, {id: b, type: echo, text: '${env.B}'}]\n"


def test_a_components_variable_is_asked_for_when_a_run_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = composemagic.load("workflow: {job: {component: a}}\n" + LAZY)
    assert workflow.unset_variables() == ("CM_A",)
    run = workflow.start({})
    run.wait()
    assert run.error is not None
    assert (run.error.kind, "CM_A" in run.error.sentence) == ("missing_variable", True)
    assert str(run.error).endswith(
        "   2 | components: [{id: a, type: echo, value: '${env.CM_A}'}, {id: b, type: echo, text: '${env.B}'}]\n"
        "                                                ^^^^^^^^^^^"
    )
    monkeypatch.setenv("CM_A", "7")
    assert (workflow().output, workflow.unset_variables()) == ("7", ())


NOW: list[tuple[str, dict[str, str], str | None]] = [
    ("workflow: {title: 'a ${env.CM_A}'}", {}, "the environment variable `CM_A` is not set"),
    ("workflow: {title: 'a ${env.CM_A | b}'}", {}, None),
    ("workflow: {job: {input: {a: '${env.CM_A}'}}}", {}, "the environment variable `CM_A` is not set"),
    ("workflow: {job: {input: {a: '${env.CM_A as integer}'}}}", {"CM_A": "seven"}, '`env.CM_A`: "seven" is no integer'),
    ("workflow: {job: {input: {a: '${env.CM_A as integer}'}}}", {"CM_A": "7"}, None),
    ("workflow: {job: {}, output: '${env.CM_A as boolean}'}", {"CM_A": "maybe"}, '`env.CM_A`: "maybe" is no boolean'),
    ("workflow: {job: {output: '${env.CM_A}'}}", {}, "the environment variable `CM_A` is not set"),
    ("workflow: {job: {repeat_count: '${env.CM_A}'}}", {}, "the environment variable `CM_A` is not set"),
    # whether a default is needed is known in a run
    ("workflow: {job: {input: '${input.a | ${env.CM_A}}'}}", {}, None),
    ("workflow: {job: {input: '${env.CM_B | ${env.CM_A}}'}}", {"CM_B": "b"}, None),
    ("workflow: {job: {input: '${env.CM_B | ${env.CM_A}}'}}", {}, "the environment variable `CM_A` is not set"),
    # in a component only what says which settings there are
    ("workflow: {job: {component: {type: echo, value: '${env.CM_A}'}}}", {}, None),
    ("workflow: {job: {component: {type: '${env.CM_A}'}}}", {}, "the environment variable `CM_A` is not set"),
    ("workflow: {job: {component: {type: echo, id: '${env.CM_A}'}}}", {}, "the environment variable `CM_A` is not set"),
    ("x-mine: '${env.CM_A}'", {}, None),
    ("# ${env.CM_A}", {}, None),
]


@pytest.mark.parametrize(("text", "env", "sentence"), NOW)
def test_outside_of_components_it_is_asked_at_once(text: str, env: dict[str, str], sentence: str | None) -> None:
    document = f"{text}\ncomponent: {{type: echo}}\n"
    try:
        composemagic.load(document, env=env)
        found = None
    except DocumentError as error:
        (mistake,) = error.mistakes
        found = mistake.sentence
        assert mistake.mark is not None
        assert mistake.mark.line == 0
    assert found == sentence


def test_a_value_is_data_and_no_yaml() -> None:
    text = "workflow: {title: '${env.CM_A}', job: {input: {k: '${env.CM_A}'}}}\ncomponent: {type: echo, value: '${input.k}'}\n"
    for value in ("a: b", "x\ny: z", '"', "#", "${input.evil}", "- 1"):
        workflow = composemagic.load(text, env={"CM_A": value})
        assert (workflow.title, workflow().output, workflow.inputs) == (value, value, ())


TYPED = [("7", 7), ("0.5", 0.5), ("true", True), ("null", None), ("text", "text"), ("yes", "yes"), ("012", 12)]


@pytest.mark.parametrize(("value", "wanted"), TYPED)
def test_alone_and_unquoted_it_has_the_type_that_yaml_would_give_it(value: str, wanted: object) -> None:
    text = "component:\n  type: echo\n  value: [${env.CM_A}, '${env.CM_A}', x ${env.CM_A}]\n"
    assert composemagic.load(text, env={"CM_A": value})().output == [wanted, value, f"x {value}"]
