"""Running workflows without a terminal."""

import json
import re

import pytest

from cli.processes import Stepwell
from cli.sources import GATE, GREET, HOSTILE, ORDER


def test_key_value_arguments_get_the_types_of_the_schema(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    run = stepwell.json("run", "greet", "name=7", "times=2", "loud=yes", 'extra={"a": [1]}', "tags=x", "tags=y")

    assert run["status"] == "completed"
    assert run["output"] == {"text": "HELLO 7 HELLO 7", "tags": ["x", "y"], "extra": {"a": [1]}}


def test_arguments_come_as_json_from_the_line_a_file_or_stdin_and_pairs_win(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)
    file = stepwell.home / "arguments.json"
    file.write_text('{"name": "Ada", "times": 2}')

    assert stepwell.json("run", "greet", "--json", '{"name": "Ada"}')["output"]["text"] == "Hello Ada"
    assert stepwell.json("run", "greet", "--json", f"@{file}")["output"]["text"] == "Hello Ada Hello Ada"
    assert stepwell.json("run", "greet", "--json", "-", stdin='{"name": "Bob"}')["output"]["text"] == "Hello Bob"
    assert stepwell.json("run", "greet", "--json", f"@{file}", "times=1")["output"]["text"] == "Hello Ada"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["name=x", "times=two"], "whole number"),
        (["name=x", "loud=maybe"], "true or false"),
        (["name=x", "extra=nope"], "JSON object"),
        (["name=x", "nmae=y"], "nmae"),
        (["name=x", "name=y"], "2 times"),
        (["name"], "key=value"),
        (["=x"], "key=value"),
        ([], "name"),
        (["--json", "{"], "no JSON"),
        (["--json", "[1]"], "JSON object"),
        (["--json", '{"name": NaN}'], "no JSON"),
        (["--json", "[" * 100_000], "no JSON"),
        (["--json", "@/nowhere/at/all"], "cannot be read"),
        (["--json", '{"name": 1}'], "name"),
        (["--nonsense"], "nonsense"),
        (["name=x", "--run-id", "../../etc"], "run_id"),
    ],
)
def test_arguments_that_do_not_fit_start_nothing_and_say_what_would(
    stepwell: Stepwell, words: list[str], said: str
) -> None:
    stepwell.create("greet", GREET)

    done = stepwell.here("run", "greet", *words)

    assert done.code == 2
    assert said in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert stepwell.json("runs")["runs"] == []


def test_the_output_goes_to_stdout_and_the_progress_to_stderr(stepwell: Stepwell) -> None:
    stepwell.create("order", ORDER)
    stepwell.create("greet", GREET)

    assert json.loads(stepwell("run", "greet", "name=Ada").out)["text"] == "Hello Ada"
    done = stepwell("run", "order", "amount=5", "--run-id", "order-1")
    assert done.code == 3
    assert done.out == ""
    assert "step charge completed" in done.err
    assert "stepwell answer order-1" in done.err


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ("return 1", 0, "completed"),
        ("return ctx.terminate('enough')", 0, "terminated"),
        ("raise ValueError('no')", 1, "failed"),
        ("await ctx.approve('Go on?')", 3, "waiting"),
        ("await ctx.sleep(86400)", 3, "sleeping"),
    ],
)
def test_the_exit_code_says_how_the_run_stands(stepwell: Stepwell, body: str, code: int, status: str) -> None:
    stepwell.create("flow", f'"""One thing."""\n\nasync def run(ctx):\n    {body}\n')

    done = stepwell("run", "flow", "--output", "json")

    assert done.code == code
    assert done.data["status"] == status


def test_a_short_timer_is_waited_for(stepwell: Stepwell) -> None:
    stepwell.create("nap", '"""Sleep."""\n\nasync def run(ctx):\n    await ctx.sleep(3)\n    return "awake"\n')

    assert stepwell.json("run", "nap")["output"] == "awake"


def test_a_failed_run_says_where_it_failed_and_how_to_go_on(stepwell: Stepwell) -> None:
    source = (
        '"""Fail."""\n\ndef no():\n    raise KeyError("k")\n\nasync def run(ctx):\n    await ctx.step("lookup", no)\n'
    )
    stepwell.create("fails", source)

    done = stepwell("run", "fails", "--run-id", "f1")

    assert done.code == 1
    assert "KeyError" in done.err
    assert "step lookup" in done.err
    assert "stepwell resume f1" in done.err


def test_what_a_workflow_says_does_nothing_to_the_terminal(stepwell: Stepwell) -> None:
    stepwell.create("hostile", HOSTILE)

    waiting = stepwell.here("run", "hostile", "--run-id", "h1")
    shown = stepwell.here("show", "h1", "--timeline", "--logs", "--journal")
    listed = stepwell.here("runs")
    approved = stepwell.here("approve", "h1")
    as_json = stepwell.here("show", "h1", "--output", "json")

    for done in (waiting, shown, listed, approved, as_json):
        assert not set("\x1b\x07\x9b\u202e") & set(done.out + done.err)
    assert "[bold]it\\x1b[2J" in waiting.err
    assert approved.out == "out \\x1b]0;title\\x07 [red]x[/red] \\x9b31m\n"
    assert as_json.data["output"] == "out \x1b]0;title\x07 [red]x[/red] \x9b31m"


def test_the_same_run_id_or_idempotency_key_is_the_same_run(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    first = stepwell.json("run", "greet", "name=a", "--run-id", "g1")
    again = stepwell.json("run", "greet", "name=a", "--run-id", "g1")
    other = stepwell.here("run", "greet", "name=b", "--run-id", "g1")
    keyed = [stepwell.json("run", "greet", "name=a", "--idempotency-key", "k")["run_id"] for _ in range(2)]

    assert first["run_id"] == again["run_id"] == "g1"
    assert other.code == 2
    assert keyed[0] == keyed[1]
    assert stepwell.json("runs")["total"] == 2


def test_a_detached_run_is_stored_and_taken_up_by_resume(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    stored = stepwell.json("run", "greet", "name=Ada", "--detach", "--session-id", "s", "--user-id", "u")
    taken = stepwell.json("resume", stored["run_id"])

    assert stored["status"] == "pending"
    assert (taken["status"], taken["session_id"]) == ("completed", "s")


def test_runs_are_listed_by_status_and_workflow_in_pages(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)
    stepwell.create("gate", GATE)
    for number in range(3):
        stepwell.here("run", "greet", "name=a", "--run-id", f"g{number}")
    stepwell.here("run", "gate", "--run-id", "w")

    waiting = stepwell.json("runs", "--status", "waiting")["runs"]
    first = stepwell.json("runs", "--workflow", "greet", "--limit", "2")
    second = stepwell.json("runs", "--workflow", "greet", "--limit", "2", "--cursor", first["next_cursor"])

    assert [run["run_id"] for run in waiting] == ["w"]
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["g2", "g1", "g0"]
    assert stepwell.here("runs", "--status", "sleepy").code == 2
    assert stepwell.here("runs", "--cursor", "nonsense").code == 2


def test_show_tells_the_timeline_the_logs_and_the_journal(stepwell: Stepwell) -> None:
    stepwell.create("order", ORDER)
    ran = stepwell.here("run", "order", "amount=5", "--run-id", "o1")
    assert "\n  | [charge] charging 5\n" in ran.err

    run = stepwell.json("show", "o1", "--timeline", "--logs", "--journal")

    assert "step.completed" in [event["type"] for event in run["timeline"]]
    assert [line["text"].strip() for line in run["logs"]] == ["charging 5"]
    assert [entry["name"] for entry in run["journal"] if entry["kind"] == "step"] == ["charge"]
    stepwell.here("cancel", "o1")
    followed = stepwell.here("show", "o1", "--logs", "--follow")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} stdout   \[charge\] charging 5\n", followed.out)
    assert "order cancelled" in followed.err
    assert stepwell.here("show", "o1", "--timeline", "--follow").code == 2
    near = stepwell.here("show", "o2")
    assert near.code == 2


def test_a_cancelled_run_ends(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "w")

    run = stepwell.json("cancel", "w", "--reason", "not needed")

    assert run["status"] == "cancelled"
    assert "not needed" in run["error"]["message"]
    assert stepwell.here("cancel", "nothing").code == 2


def test_an_event_reaches_the_run_that_waits_for_it_once(stepwell: Stepwell) -> None:
    source = '"""Wait."""\n\nasync def run(ctx):\n    return await ctx.wait_for_event("paid")\n'
    stepwell.create("payment", source)
    assert stepwell.here("run", "payment", "--run-id", "p").code == 3

    sent = stepwell.json("emit", "paid", "--json", '{"amount": 3}', "--event-id", "e1", "--run", "p")
    again = stepwell.json("emit", "paid", "--json", '{"amount": 3}', "--event-id", "e1", "--run", "p")
    assert stepwell.here("emit", "paid", "--run", "nobody").code == 2

    assert (sent["delivered"], again["duplicate"]) == (["p"], True)
    assert stepwell.json("resume", "p")["output"] == {"amount": 3}


def test_artifacts_are_listed_printed_and_saved(stepwell: Stepwell) -> None:
    source = (
        '"""Save."""\nfrom stepwell import artifacts\n\n'
        'def run():\n    artifacts.save("note", "three \\x1b[2J lines")\n    artifacts.save("raw", b"\\x00\\xff")\n'
    )
    stepwell.create("saves", source)
    stepwell.here("run", "saves", "--run-id", "a")

    listed = stepwell.json("artifacts", "a")["artifacts"]
    target = stepwell.home / "raw.bin"

    assert [(item["name"], item["size"]) for item in listed] == [("note", 16), ("raw", 2)]
    assert stepwell("artifacts", "read", "a", "note").out == "three \x1b[2J lines"
    assert stepwell.json("artifacts", "read", "a", "raw")["base64"] == "AP8="
    stepwell.json("artifacts", "read", "a", "raw", "--to", str(target))
    assert target.read_bytes() == b"\x00\xff"
    assert stepwell.here("artifacts", "read", "a", "raw", "--to", str(target)).code == 2
    assert "note" in stepwell.here("artifacts", "read", "a", "nope").err

    assert stepwell.here("artifacts", "delete", "a", "note").out == "note of a is deleted.\n"
    assert [item["name"] for item in stepwell.json("artifacts", "a")["artifacts"]] == ["raw"]
    again = stepwell.here("artifacts", "delete", "a", "note")
    assert (again.code, "It has: raw." in again.err) == (2, True)
