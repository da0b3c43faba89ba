"""Workflows that call tools of other MCP servers."""

import json
import sys
from pathlib import Path

import pytest

from stepwell_server import Session

SUPPORT = Path(__file__).parent.parent / "support"


def configure(path: Path, more: str = "", **servers: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    tables = [
        f"[mcp_servers.{name}]\ncommand = {json.dumps(sys.executable)}\nargs = {json.dumps(args)}\n"
        for name, args in servers.items()
    ]
    (path / "stepwell.toml").write_text("\n".join([*tables, more]))
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
