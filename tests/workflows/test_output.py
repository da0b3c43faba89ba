"""What a workflow prints and logs: by line, level and step, once, bounded, and at hand when the run has failed."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mcp_clients import call, in_memory
from stepwell.engine import LogLine
from stepwell.model import Run
from stepwell_server import Session
from support.server import make_home

pytestmark = pytest.mark.asyncio

ALL_WAYS = """
import logging, os, sys, threading, warnings

log = logging.getLogger("shop")

def load():
    print("in the step")
    log.error("error of the step")
    thread = threading.Thread(target=lambda: print("in its thread"))
    thread.start()
    thread.join()
    print("begun in the step", end="")
    return 1

async def run(ctx):
    print("one", "line")
    print("a line ", end="")
    print("in parts", flush=True)
    print("two\\nlines")
    sys.stdout.buffer.write("bytes \\u20ac\\n".encode()[:7])
    sys.stdout.buffer.write("bytes \\u20ac\\n".encode()[7:])
    sys.stderr.write("to stderr\\n")
    log.debug("not asked for")
    logging.basicConfig(level=logging.DEBUG, format="other %(message)s")
    log.debug("asked for")
    log.warning("%s of %d", "one", 2)
    warnings.warn("is old", DeprecationWarning)
    ctx.log("by the context")
    print("\\x1b[31mred\\x07 \\u202e")
    os.write(1, b"past Python\\n")
    await ctx.step(load)
    print("x" * 9000)
    await ctx.wait_for_user("On?")
    print("after the wait", end="")
"""


def lines_of(lines: list[LogLine] | tuple[LogLine, ...], step: str = "") -> list[str]:
    return [f"{line.level}: {line.text}" for line in lines if line.step == step]


async def test_all_ways_to_print_give_lines_once(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("prints", ALL_WAYS)
        run = await session.run("prints")
        before = list(await session.app.engine.logs(run.id))
        await session.answer(run, "yes")
        ended = await session.wait(run)
        lines = list(await session.app.engine.logs(run.id))

    past = [[line for line in found if line.text == "past Python"] for found in (before, lines)]
    assert [len(found) for found in past] == [1, 2]  # what goes past Python is in no order, and a replay repeats it
    before, lines = ([line for line in found if line.text != "past Python"] for found in (before, lines))
    assert ended.status == "completed"
    assert lines[: len(before)] == before
    assert lines_of(lines[len(before) :]) == ["stdout: after the wait"]  # the body was replayed, without its output
    assert lines_of(before, "load") == [
        "stdout: in the step", "error: error of the step", "stdout: in its thread", "stdout: begun in the step",
    ]  # fmt: skip
    body = lines_of(before)
    warned = next(line for line in body if "DeprecationWarning" in line)
    assert warned.startswith("warning: <workflow>:")
    assert body[-1].startswith("stdout: xxx")
    assert body[-1].endswith("xxx [cut: 9000 characters]")
    assert [line for line in body[:-1] if line != warned] == [
        "stdout: one line", "stdout: a line in parts", "stdout: two", "stdout: lines", "stdout: bytes \u20ac",
        "stderr: to stderr", "debug: asked for", "warning: one of 2", "stdout: by the context",
        "stdout: \\x1b[31mred\\x07 \\u202e",
    ]  # fmt: skip
    assert all(a.at <= b.at for a, b in pairwise(lines))


async def logs_in_pages(client: Client, run_id: str) -> list[str]:
    """Follow the calls that `more` names."""
    found: list[str] = []
    offset = 0
    while True:
        page = await call(client, "get_run", run_id=run_id, include=["logs"], offset=offset)
        found += [line["text"] for line in page["logs"]]
        following = page.get("more", {}).get("logs", {}).get("next")
        if following is None:
            return found
        offset = int(following.rpartition("offset=")[2].rstrip(")"))


async def test_a_model_gets_the_last_lines_of_a_failed_run_and_all_of_them_in_pages(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", "[limits]\noutput_bytes = 30000\n")
    code = "for n in range(2000): print('line', n)\nraise ValueError('no more')"
    async with in_memory(home, "auto") as client:
        answer = await client.call_tool("run_code", {"code": code})
        run: dict[str, Any] = answer.structured_content or {}
        assert (answer.is_error, run["status"]) == (True, "failed")
        assert run["last_logs"][-1].startswith("warning: ")
        assert "more lines were dropped" in run["last_logs"][-1]
        lines = await logs_in_pages(client, run["run_id"])
    kept = [line for line in lines if line.startswith("line ")]
    assert kept == [f"line {n}" for n in range(len(kept))]
    dropped = int(lines[-1].split()[0])
    assert "[output cut: more than output_bytes = 30000]" in lines[-2]
    assert len(kept) + dropped in (1999, 2000)  # one may be cut in the middle
    assert sum("dropped" in line for line in lines) == 1


async def test_unfinished_lines_of_several_threads_stay_apart(home: Path) -> None:
    source = """
import threading

def run() -> int:
    turn = threading.Barrier(3)
    def speak(name):
        for part in "abc":
            print(name, end=part)
            turn.wait()
        print()
    threads = [threading.Thread(target=speak, args=(name,)) for name in "xyz"]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return len(threads)
"""
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("speak", source)
        run: Run = await session.run("speak")
        assert run.output == 3
        lines = await session.app.engine.logs(run.id)
    assert sorted(line.text for line in lines) == ["xaxbxc", "yaybyc", "zazbzc"]
