"""Storing and finding workflows from the command line."""

import json
from pathlib import Path

import pytest

from cli.processes import Stepwell
from cli.sources import GATE, GREET


@pytest.mark.row("P2")
def test_a_workflow_stored_by_one_process_is_seen_by_the_next(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET, "--tag", "social", "--intent", "say hello to Bob")

    listed = stepwell("list", "--output", "json").data

    assert [item["name"] for item in listed["workflows"]] == ["greet"]
    assert listed["total"] == 1
    assert "greet(name: str, times: int = 1" in stepwell("get", "greet").out


@pytest.mark.row("P26")
def test_files_of_the_home_are_workflows_and_a_broken_one_is_reported_and_skipped(stepwell: Stepwell) -> None:
    folder = stepwell.home / "workflows"
    folder.mkdir(parents=True)
    (folder / "greet.py").write_text(GREET)
    (folder / "_draft.py").write_text(GREET)
    (folder / "broken.py").write_text("def run(:\n")

    done = stepwell("list", "--output", "json")

    assert [item["name"] for item in done.data["workflows"]] == ["greet"]
    assert "broken.py" in done.err
    assert stepwell.json("run", "greet", "name=Ada")["output"]["text"] == "Hello Ada"
    refused = stepwell.here("delete", "greet", "--yes")
    assert (refused.code, "greet.py" in refused.err) == (2, True)


def test_create_takes_the_name_of_the_file_and_a_second_one_needs_replace(stepwell: Stepwell, tmp_path: Path) -> None:
    file = tmp_path / "greet.py"
    file.write_text(GREET)
    first = stepwell.json("create", str(file))
    file.write_text(GREET.replace("Hello", "Good day"))

    taken = stepwell.here("create", str(file))
    replaced = stepwell.json("create", str(file), "--replace")

    assert (first["name"], first["created"]) == ("greet", True)
    assert taken.code == 2
    assert "--replace" in taken.err
    assert replaced["replaced"].startswith(first["version"])
    assert len(replaced["versions"]) == 2


def test_a_dry_run_stores_nothing(stepwell: Stepwell) -> None:
    done = stepwell.here("create", "-", "--name", "greet", "--dry-run", stdin=GREET)

    assert done.code == 0
    assert stepwell.json("list")["workflows"] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"def run(:\n", "Line 1"),
        (b"x = 1\n\0", "NUL"),
        (b"# nothing\n", "empty"),
        (b"def helper(x): pass\ndef other(x): pass\n", "run"),
        (b"\xff\xfe", "UTF-8"),
        (b"x = 1\n" * 2_000_000, "characters"),
        (b"x = " + b"(" * 5000 + b")" * 5000, "nested"),
    ],
)
def test_what_is_no_workflow_is_refused_and_nothing_is_stored(stepwell: Stepwell, source: bytes, said: str) -> None:
    done = stepwell.here("create", "-", "--name", "bad", stdin=source)

    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert stepwell.json("list")["workflows"] == []


@pytest.mark.parametrize("name", ["a b", "class", "search", "x" * 49, "../up", "", "\x1b[2J"])
def test_a_name_that_cannot_be_used_is_refused(stepwell: Stepwell, name: str) -> None:
    done = stepwell.here("create", "-", "--name", name, stdin=GREET)

    assert done.code == 2
    assert "\x1b" not in done.err


def test_search_finds_by_intent_and_pin_and_delete_work_on_what_is_found(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)
    stepwell.create("gate", GATE)

    found = stepwell.json("search", "greet", "somebody")["workflows"]
    assert found[0]["name"] == "greet"
    assert found[0]["call"].startswith("invoke_workflow(")

    assert stepwell.json("pin", "greet") == {"name": "greet", "pinned": True}
    assert stepwell.json("get", "greet")["pinned"] is True
    stepwell.json("unpin", "greet")
    assert stepwell.json("get", "greet")["pinned"] is False
    stepwell.json("delete", "greet")
    assert [item["name"] for item in stepwell.json("list")["workflows"]] == ["gate"]


def test_the_source_comes_back_as_it_was_stored(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    assert stepwell("get", "greet", "--source").out == GREET.strip("\n") + "\n"


def test_an_unknown_name_suggests_the_near_one(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    for command in (["get", "gret"], ["run", "gret"], ["delete", "gret", "--yes"], ["pin", "gret"]):
        done = stepwell.here(*command)
        assert done.code == 2
        assert "Did you mean greet?" in done.err

    error = json.loads(stepwell("get", "gret", "--output", "json").out)["error"]
    assert (error["type"], error["code"]) == ("NotFound", "not_found")


def test_a_list_is_read_in_pages(stepwell: Stepwell) -> None:
    for name in ("a_one", "b_two", "c_three"):
        stepwell.create(name, GREET, "--description", name)

    first = stepwell.json("list", "--limit", "2")
    second = stepwell.json("list", "--limit", "2", "--cursor", first["next_cursor"])

    assert [item["name"] for item in first["workflows"] + second["workflows"]] == ["a_one", "b_two", "c_three"]
    assert (first["total"], second["next_cursor"]) == (3, None)


def test_a_workflow_is_drawn_as_a_tree_and_as_a_chart(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)

    data = stepwell("graph", "gate", "--output", "json").data

    assert stepwell("graph", "gate").out == data["text"] + "\n"
    assert data["text"].startswith("gate\n└─ Wait approve")
    assert data["mermaid"].startswith("flowchart TD\n  n1([")
    shown = stepwell.json("get", "gate")
    assert (shown["graph"], shown["mermaid"]) == (data["text"], data["mermaid"])
