"""Approvals, questions, failures and interruptions, from the command line."""

import json
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cli.processes import COMMAND, Stepwell
from cli.sources import GATE, ORDER, QUESTIONS
from support.server import Server

LOCAL = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n'
RETRIED = '''
"""Charge, then confirm with a tool that fails at first."""

def charge(amount):
    print("charging", amount)
    return amount

def confirm(paid, base):
    return tools.fetch(url=base)

async def run(ctx, amount: int, base: str) -> dict:
    paid = await ctx.step("charge", charge, amount)
    answer = await ctx.step("confirm", confirm, paid, base)
    return {"paid": paid, "answer": answer}
'''


class Unreliable:
    """An HTTP server on this machine that fails once, and takes posts without an answer."""

    def __init__(self) -> None:
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                body = b"confirmed"
                self.send_response(400 if server.asked == 1 else 200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                server.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> "Unreliable":
        threading.Thread(target=self._server.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.row("N11")
def test_another_process_approves_and_a_second_approval_is_refused(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    assert stepwell.here("run", "gate", "--run-id", "g").code == 3
    gate = stepwell.json("show", "g")["waiting_for"][0]

    words = ["--key", gate["key"], "--digest", gate["digest"], "--reviewer", "Ada", "--output", "json"]
    approved = stepwell("approve", "g", *words).data
    again = stepwell.here("approve", "g", "--key", gate["key"])

    assert (approved["status"], approved["output"]) == ("completed", "did it")
    assert again.code == 2
    decided = [
        event for event in stepwell.json("show", "g", "--timeline")["timeline"] if event["type"] == "wait.decided"
    ]
    assert len(decided) == 1
    assert (decided[0]["data"]["reviewer"], decided[0]["data"]["via"]) == ("Ada", "cli")


def test_a_wrong_digest_approves_nothing(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "g")

    done = stepwell.here("approve", "g", "--digest", "0" * 12)

    assert done.code == 2
    assert "digest" in done.err
    assert stepwell.json("show", "g")["status"] == "waiting"


def test_a_rejection_needs_a_reason_and_ends_the_run(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "g")

    assert stepwell.here("reject", "g").code == 2
    done = stepwell.here("reject", "g", "--reason", "too dear", "--output", "json")

    assert done.code == 1
    assert done.data["status"] == "rejected"
    assert "too dear" in done.data["error"]["message"]


def test_answers_are_checked_and_the_run_goes_on_to_the_next_question(stepwell: Stepwell) -> None:
    stepwell.create("questions", QUESTIONS)
    stepwell.here("run", "questions", "--run-id", "q")

    assert stepwell.here("answer", "q", "Ada").code == 3
    wrong = stepwell.here("answer", "q", "a,d")
    done = stepwell.json("answer", "q", "a,c")

    assert (wrong.code, "'d'" in wrong.err) == (2, True)
    assert done["output"] == {"name": "Ada", "kinds": ["a", "c"]}


def test_a_decision_can_be_recorded_without_executing_the_run(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "g")

    recorded = stepwell.json("approve", "g", "--no-wait")
    done = stepwell.json("resume", "g")

    assert recorded["status"] == "pending"
    assert done["status"] == "completed"


@pytest.mark.row("A37")
def test_a_failed_run_goes_on_from_the_step_that_failed(stepwell: Stepwell) -> None:
    stepwell.create("order", RETRIED)
    stepwell.home.joinpath("stepwell.toml").write_text(LOCAL)
    with Unreliable() as base:
        failed = stepwell("run", "order", "amount=5", f"base={base.url}", "--run-id", "o", "--output", "json")
        resumed = stepwell.json("resume", "o")

    assert (failed.code, failed.data["error"]["step"]) == (1, "confirm")
    assert resumed["output"] == {"paid": 5, "answer": "confirmed"}
    assert resumed["skipped_steps"] == ["charge"]
    assert base.asked == 2
    logs = stepwell.json("show", "o", "--logs")["logs"]
    assert [line["text"].strip() for line in logs].count("charging 5") == 1


def test_what_cannot_be_resumed_says_why(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "g")

    waiting = stepwell.here("resume", "g")
    stepwell.here("approve", "g")
    completed = stepwell.here("resume", "g")

    assert (waiting.code, "stepwell approve g" in waiting.err) == (2, True)
    assert completed.code == 2
    assert stepwell.here("resume", "nothing").code == 2
    assert stepwell.here("resume", "g", "--decision", "value").code == 2


def test_at_a_terminal_questions_are_asked_right_there(stepwell: Stepwell) -> None:
    stepwell.create("order", ORDER)

    terminal = stepwell.terminal("run", "order", "amount=5", "--run-id", "o")
    terminal.until("Which language?")
    terminal.until("2) Deutsch")
    terminal.until("Number:")
    terminal.type("7\n")
    terminal.until("from 1 to 2")
    terminal.until("Number:")
    terminal.type("2\n")
    terminal.until("asks for approval")
    terminal.until("Approve?")
    terminal.type("y looks right\n")

    assert terminal.end() == 0
    assert "confirmed in de" in terminal.shown
    assert "✓" in terminal.shown
    run = stepwell.json("show", "o", "--timeline")
    assert run["output"] == {"paid": {"charged": 5}, "done": "confirmed in de"}
    reasons = [event["data"].get("reason") for event in run["timeline"] if event["type"] == "wait.decided"]
    assert reasons[-1] == "looks right"


def test_at_a_terminal_no_rejects_and_end_of_input_leaves_it_open(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)

    left = stepwell.terminal("run", "gate", "--run-id", "a")
    left.until("Approve?")
    left.type("\x04")
    assert left.end() == 3
    assert "stepwell approve a" in left.shown

    refused = stepwell.terminal("resume", "a")
    assert refused.end() == 2

    rejected = stepwell.terminal("run", "gate", "--run-id", "b")
    rejected.until("Approve?")
    rejected.type("n not today\n")
    assert rejected.end() == 1
    assert "not today" in rejected.shown


def test_a_question_answered_elsewhere_is_withdrawn(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)

    terminal = stepwell.terminal("run", "gate", "--run-id", "g")
    terminal.until("Approve?")
    recorded = stepwell("approve", "g")
    terminal.until("Settled elsewhere")

    assert recorded.code == 0
    assert "goes on with the run" in recorded.err
    assert terminal.end() == 0


def test_a_question_of_a_child_run_is_asked_too(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.create("parent", '"""Invoke."""\n\ndef run():\n    return workflows.invoke("gate", what="that")\n')

    terminal = stepwell.terminal("run", "parent")
    terminal.until("Do that?")
    terminal.until("Approve?")
    terminal.type("y\n")

    assert terminal.end() == 0
    assert "did that" in terminal.shown


def test_an_interrupted_run_is_kept_and_goes_on_later(stepwell: Stepwell) -> None:
    source = '"""Nap."""\n\ndef work():\n    return 1\n\nasync def run(ctx):\n    await ctx.step("work", work)\n'
    stepwell.create("nap", source + "    await ctx.sleep(3600)\n")

    terminal = stepwell.terminal("run", "nap", "--run-id", "n")
    terminal.until("sleeps until")
    terminal.interrupt()

    assert terminal.end() == 130
    assert "stepwell resume n" in terminal.shown
    run = stepwell.json("show", "n")
    assert run["status"] in ("sleeping", "pending")
    assert run["completed_steps"] == ["work"]


def test_an_interrupted_command_says_in_json_how_to_go_on(stepwell: Stepwell) -> None:
    stepwell.create("nap", '"""Nap."""\n\nasync def run(ctx):\n    await ctx.sleep(50)\n')

    process = subprocess.Popen(
        [*COMMAND, "run", "nap", "--run-id", "n", "--output", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=stepwell.environment,
        text=True,
    )
    assert process.stderr is not None
    with process:
        while "sleeps until" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    data = json.loads(shown)
    assert (data["run_id"], data["error"]["code"]) == ("n", "interrupted")
    assert "stepwell resume n" in data["error"]["hint"]


def test_a_call_without_an_answer_is_decided_and_not_repeated(stepwell: Stepwell) -> None:
    source = '"""Post."""\n\ndef run(url: str):\n    return {"said": tools.curl.post(url=url, body="x")}\n'
    stepwell.create("post", source)
    stepwell.home.joinpath("stepwell.toml").write_text(LOCAL)
    with Unreliable() as base:
        doubtful = stepwell("run", "post", f"url={base.url}", "--run-id", "p")
        undecided = stepwell.here("resume", "p")
        done = stepwell.json("resume", "p", "--decision", "value", "--value", '"paid"')

    assert doubtful.code == 4
    assert "stepwell resume p --decision" in doubtful.err
    assert undecided.code == 2
    assert done["output"] == {"said": "paid"}
    assert base.asked == 1


def test_a_decision_about_a_child_lets_its_parent_go_on_too(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.create("parent", '"""Invoke."""\n\ndef run():\n    return workflows.invoke("gate", what="that")\n')
    waiting = stepwell.here("run", "parent", "--run-id", "p", "--output", "json")
    child = waiting.data["waiting_for"][0]["context"]["run_id"]

    approved = stepwell.json("approve", child)

    assert waiting.code == 3
    assert approved["output"] == "did that"
    assert stepwell.json("show", "p")["output"] == "did that"


def test_where_a_person_is_demanded_an_approval_needs_a_terminal(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    stepwell.here("run", "gate", "--run-id", "g")
    stepwell.home.joinpath("stepwell.toml").write_text('[policy]\napprovals = "person"\n')

    refused = stepwell("approve", "g")
    at_terminal = stepwell.terminal("approve", "g")

    assert (refused.code, "terminal" in refused.err) == (2, True)
    assert at_terminal.end() == 0


def test_json_stays_alone_on_stdout_also_for_errors(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)

    waiting = stepwell("--output", "json", "run", "gate", "--run-id", "g")
    unknown = stepwell("approve", "nothing", "--output=json")
    usage = stepwell("--output", "json", "approve")

    assert json.loads(waiting.out)["waiting_for"][0]["kind"] == "approval"
    assert json.loads(unknown.out)["error"]["code"] == "not_found"
    assert set(json.loads(usage.out)["error"]) == {"type", "code", "message", "hint"}
    assert (waiting.code, unknown.code, usage.code) == (3, 2, 2)


def test_a_running_server_goes_on_with_what_was_decided_here(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)
    server = Server(stepwell.home)
    server.start()
    try:
        detached = stepwell("run", "gate", "--run-id", "g", "--detach")
        wait_for(stepwell, "g", "waiting")
        recorded = stepwell("approve", "g")
        run = wait_for(stepwell, "g", "completed")
        seen = [check["text"] for check in stepwell.json("doctor")["checks"] if check["name"] == "servers"]
    finally:
        server.stop()

    assert (detached.code, recorded.code) == (0, 0)
    assert f"process id {server_pid(recorded.err)} goes on" in recorded.err
    assert seen == [f"process {server_pid(recorded.err)}"]
    assert run["output"] == "did it"


def server_pid(text: str) -> str:
    found = re.search(r"process id (\d+)", text)
    assert found is not None
    return found[1]


def wait_for(stepwell: Stepwell, run_id: str, status: str) -> Any:
    deadline = time.monotonic() + 60
    while (run := stepwell.json("show", run_id))["status"] != status:
        assert time.monotonic() < deadline, run
    return run


FETCH = 'def run():\n    """Fetch."""\n    return tools.fetch(url="http://localhost:9/")\n'


def test_more_than_one_call_is_approved_at_a_terminal_only_and_can_be_taken_back(stepwell: Stepwell) -> None:
    stepwell.create("load", FETCH)
    stepwell.home.joinpath("stepwell.toml").write_text("[http]\nallow_private = true\n")
    assert stepwell.here("run", "load", "--run-id", "a").code == 3

    once = stepwell("approve", "a")
    always = stepwell("approve", "a", "--for", "always")
    at_terminal = stepwell.terminal("approve", "a", "--for", "always")

    assert (once.code, "operator's list" in once.err) == (2, True)
    assert (always.code, "person" in always.err) == (2, True)
    assert at_terminal.end() == 1  # it was sent; nobody listens there
    [grant] = stepwell.json("grants")["grants"]
    assert (grant["kind"], grant["name"], grant["scope"], grant["via"]) == ("host", "localhost", "always", "cli")
    assert stepwell.here("run", "load", "--run-id", "b").code == 1
    assert stepwell.here("grants", "--revoke", str(grant["id"])).code == 0
    assert "Nothing is approved" in stepwell.here("grants").out
    assert stepwell.here("run", "load", "--run-id", "c").code == 3
