"""Workflows that call tools of other MCP servers."""

import json
import sys
from pathlib import Path

import pytest

from stepwell_server import Session

SUPPORT = Path(__file__).parent.parent / "support"


def configure(path: Path, **servers: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    tables = [
        f"[mcp_servers.{name}]\ncommand = {json.dumps(sys.executable)}\nargs = {json.dumps(args)}\n"
        for name, args in servers.items()
    ]
    (path / "stepwell.toml").write_text("\n".join(tables))
    return path


def raw(log: Path) -> list[str]:
    return ["-I", "-S", str(SUPPORT / "raw_server.py"), f"log={log}"]


@pytest.mark.asyncio
async def test_a_workflow_calls_a_server_and_keeps_its_picture(tmp_path: Path) -> None:
    source = '''
"""Shout, and look."""
def run() -> dict:
    parts = tools.raw.picture()
    return {
        "said": tools.raw.shout(text="hi"),
        "parts": parts,
        "bytes": artifacts.load(parts[1]["artifact"]) == b"\\x89PNG pixels",
        "listed": [tool["name"] for tool in tools.raw.list() if tool["name"].startswith("raw.note")],
        "number": tools.raw.numbers(),
    }
'''
    async with Session(configure(tmp_path / "home", raw=raw(tmp_path / "log"))) as session:
        await session.add_workflow("look", source)
        run = await session.run("look")
    assert run.output == {
        "said": "HI",
        "parts": [
            {"type": "text", "text": "Look:"},
            {"type": "image", "artifact": "raw.picture.1.png", "media_type": "image/png", "size": 11},
        ],
        "bytes": True,
        "listed": ["raw.note", "raw.note_twice"],
        "number": {"n": 1, "$": "dollar", "big": 2**70},
    }, run.error


@pytest.mark.asyncio
async def test_a_servers_question_reaches_the_person(tmp_path: Path) -> None:
    source = '"""Ask."""\ndef run() -> list:\n    return [tools.raw.ask(), tools.raw.ask()]\n'
    async with Session(configure(tmp_path / "home", raw=raw(tmp_path / "log"))) as session:
        await session.add_workflow("ask", source)
        run = await session.run("ask")
        (wait,) = run.waiting_for
        assert (run.status, wait.kind, wait.key) == ("waiting", "input", "raw.ask!ask1")
        assert wait.prompt == "The MCP server raw asks: Which colour?\n\ncolour"
        assert [option["id"] for option in wait.options] == ["red", "blue"]
        run = await session.answer(run, "blue")
        run = await session.answer(run, None)
        assert run.status == "completed", run.error
        assert [json.loads(text) for text in run.output] == [
            {"action": "accept", "content": {"colour": "blue"}},
            {"action": "decline"},
        ]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_question_in_the_protocol_of_2026_is_asked_field_by_field(tmp_path: Path) -> None:
    source = '"""Order."""\ndef run() -> str:\n    return tools.sdk.order(what="tea")\n'
    home = configure(tmp_path / "home", sdk=[str(SUPPORT / "sdk_server.py")])
    async with Session(home) as session:
        await session.add_workflow("order", source)
        run = await session.run("order")
        for answer, field in (("L", "Size"), ("many", "Count"), ("3", "Count"), ("yes", "Gift")):
            assert field in run.waiting_for[0].prompt
            run = await session.answer(run, answer)
        assert run.output == "3 x tea L as a gift", run.error


@pytest.mark.asyncio
async def test_help_says_what_a_tool_takes(tmp_path: Path) -> None:
    source = '''
"""Ask for help."""
def run() -> dict:
    try:
        help(tools.raw.nobody)
    except ValueError as error:
        missing = str(error)
    return {"one": help(tools.raw.shout), "group": help(tools.curl), "missing": missing, "own": help(run)}
'''
    async with Session(configure(tmp_path / "home", raw=raw(tmp_path / "log"))) as session:
        await session.add_workflow("ask_help", source)
        run = await session.run("ask_help")
    assert run.error is None, run.error
    assert run.output["one"].split("\n") == [
        "tools.raw.shout(text: str) -> Any",
        "",
        "Say a text loudly.",
        "",
        "It only reads; policy: allow. From MCP server raw, tool shout.",
    ]
    assert run.output["group"].startswith("tools.curl.get(url: str")
    assert "there is no tool 'raw.nobody'" in run.output["missing"]


MISFIT = '''
"""Call what answers wrongly, in a step that tries again; and read what else comes along."""
from stepwell import ToolError

def note():
    return tools.raw.misfit(text="five")

def run(ctx) -> dict:
    tools.raw.slow_copy()
    len(tools.raw.many())
    found = {"secret": tools.raw.env(), "meta": tools.raw.meta()}
    try:
        ctx.step("note", note, retries=2)
    except Exception as error:
        found["error"] = str(error)
    tools.raw.misfit(text="six")
    return found
'''


@pytest.mark.asyncio
async def test_a_call_whose_answer_is_no_good_was_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTER", "s3cret-of-env")
    log = tmp_path / "log"
    home = configure(tmp_path / "home", raw=raw(log))
    with (home / "stepwell.toml").open("a") as file:
        file.write('env = { RAW_SECRET = "{{secret:INNER}}" }\n[secrets.INNER]\nenv = "OUTER"\ntools = ["raw.*"]\n')
        file.write('[idempotency]\n"raw.meta" = { meta = "com.example/key" }\n')
    async with Session(home) as session:
        await session.add_workflow("misfit", MISFIT)
        run = await session.run("misfit")
        assert (run.status, run.error.code if run.error else "") == ("failed", "bad_answer")
        # Retries of the step have got the same error, and whoever tries the run again is asked first.
        assert log.read_text().count("misfit {") == 2
        events = await session.timeline(run)
        told = [event.data["message"] for event in events if event.type == "progress"]
        assert told[0] == "raw.slow_copy: file 0"
        assert "raw.many: its result was compared with its outputSchema in part only" in told[-1]
        assert len(told) < 7
        run = await session.resume(run)
        (wait,) = run.waiting_for
        assert (wait.kind, log.read_text().count("misfit {")) == ("in_doubt", 2)
        run = await session.resume(run, decision="value", value={"count": 6})
        assert run.status == "completed", run.error
    assert "count must be int, got str 'five'" in run.output["error"]
    assert run.output["secret"] == "s3cret-of-env"[::-1]
    (key,) = json.loads(run.output["meta"]).values()
    assert len(key) == 32
    assert list(json.loads(run.output["meta"])) == ["com.example/key"]
    assert b"s3cret-of-env" not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
