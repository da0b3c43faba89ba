"""Large results: cut, with the call that fetches the rest."""

import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mcp_clients import call, in_memory, refused, value_of
from stepwell.errors import InvalidArguments
from stepwell_server.surface.paging import find, page

pytestmark = pytest.mark.asyncio


async def collect(client: Client, run_id: str, part: str, path: str = "") -> list[Any]:
    """Follow the calls named in `more` to the end and return the pages."""
    given: dict[str, Any] = {"include": [part]} | ({"path": path} if path else {})
    pages: list[Any] = []
    while True:
        shown = await call(client, "get_run", run_id=run_id, **given)
        pages.append(shown[part])
        following = shown.get("more", {}).get(part, {}).get("next")
        if following is None:
            return pages
        assert f'run_id="{run_id}"' in following
        given["offset"] = int(re.search(r"offset=(\d+)", following)[1])  # pyright: ignore[reportOptionalSubscript]


async def test_a_long_text_is_read_in_parts(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "run_code", code="''.join(chr(8364) + str(n) for n in range(20_000))")
        assert "get_run" in str(run["output"])
        pages = await collect(client, run["run_id"], "output")
        assert "".join(pages) == "".join(f"\u20ac{n}" for n in range(20_000))
        assert len(pages) > 5


async def test_a_long_list_is_read_item_by_item(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        code = "{'items': [{'n': n, 'text': 'x' * 50} for n in range(2_000)], 'total': 2_000}"
        run_id = (await call(client, "run_code", code=code))["run_id"]
        top = await call(client, "get_run", run_id=run_id, include=["output"])
        assert top["output"]["total"] == 2_000
        assert top["output"]["items"] == {"cut": "an array of 2,000 items", "path": "/items"}
        assert 'path="/items"' in top["more"]["output"]["inside"]
        pages = await collect(client, run_id, "output", "/items")
        assert [item["n"] for part in pages for item in part] == list(range(2_000))
        one = await call(client, "get_run", run_id=run_id, path="/items/7/n")
        assert one["output"] == 7


async def test_a_path_that_leads_nowhere_says_what_there_is(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        run_id = (await call(client, "run_code", code="{'items': [1, 2]}"))["run_id"]
        error = await refused(client, "get_run", run_id=run_id, path="/itms/0")
        assert (error["code"], "items" in error["hint"]) == ("invalid_arguments", True)
        for bad in ("items", "/items/2", "/items/x", "/items/0/deep"):
            assert (await refused(client, "get_run", run_id=run_id, path=bad))["code"] == "invalid_arguments"
        assert (await refused(client, "get_run", run_id=run_id, path="/a", include=["logs"]))[
            "code"
        ] == "invalid_arguments"
        beyond = await call(client, "get_run", run_id=run_id, path="/items", offset=10**9)
        assert beyond["output"] == []


async def test_logs_timeline_journal_and_steps_are_paged(tmp_path: Path) -> None:
    code = """
from stepwell import ctx
for n in range(250):
    ctx.step(f"step_{n}", lambda n=n: "y" * 400)
for n in range(1_000):
    print("line", n, "z" * 60)
"""
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "run_code", code=code, wait_seconds=45)
        assert run["status"] == "completed"
        run_id = run["run_id"]
        logs = [line["text"] for part in await collect(client, run_id, "logs") for line in part]
        assert [n for text in logs for n in re.findall(r"line (\d+)", text)] == [str(n) for n in range(1_000)]
        events = [event["n"] for part in await collect(client, run_id, "timeline") for event in part]
        assert events == list(range(1, len(events) + 1))
        steps = [entry["name"] for part in await collect(client, run_id, "journal") for entry in part]
        assert steps == [f"step_{n}" for n in range(250)]
        results: dict[str, Any] = {}
        for part in await collect(client, run_id, "step_results"):
            results |= part
        assert list(results) == steps
        everything = ["timeline", "journal", "logs", "step_results", "output"]
        both = await call(client, "get_run", run_id=run_id, include=everything)
        assert set(both["more"]) == {"timeline", "journal", "logs", "step_results"}


async def test_runs_are_listed_in_pages_that_fit(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        fail = 'def run(number: int) -> int:\n    """Fail."""\n    raise ValueError("long reason " * 200)'
        await call(client, "create_workflow", name="fail_at_length", source=fail)
        ids: list[str] = []
        for number in range(60):
            run = await call(client, "run_workflow", name="fail_at_length", arguments={"number": number})
            ids.append(run["run_id"])
        for run_id in ids:
            await call(client, "get_run", run_id=run_id, wait_seconds=45)
        listed = await call(client, "list_runs", limit=100, status="failed")
        assert (listed["total"], len(listed["runs"]) < 60) == (60, True)
        seen = [run["run_id"] for run in listed["runs"]]
        while listed["next_cursor"]:
            listed = await call(client, "list_runs", limit=100, status="failed", cursor=listed["next_cursor"])
            seen += [run["run_id"] for run in listed["runs"]]
        assert sorted(seen) == sorted(ids)


async def test_artifacts_are_read_in_parts(tmp_path: Path) -> None:
    code = "artifacts.save('text', 'ab\u20ac' * 20_000)\nartifacts.save('raw', bytes(range(256)) * 200)\n1"
    async with in_memory(tmp_path, "auto") as client:
        run_id = (await call(client, "run_code", code=code))["run_id"]
        assert "".join(await read(client, run_id, "text", "text")).strip('"') == "ab\u20ac" * 20_000
        assert len(await read(client, run_id, "raw", "base64")) > 3
        error = await refused(client, "read_artifact", run_id=run_id, name="txt")
        assert "text" in error["hint"]


async def read(client: Client, run_id: str, name: str, part: str) -> list[str]:
    parts: list[str] = []
    offset = 0
    while True:
        shown = await call(client, "read_artifact", run_id=run_id, name=name, offset=offset)
        parts.append(shown[part])
        if "next" not in shown:
            return parts
        offset = int(re.search(r"offset=(\d+)", shown["next"])[1])  # pyright: ignore[reportOptionalSubscript]


async def test_a_run_with_much_to_say_still_says_what_is_needed(tmp_path: Path) -> None:
    gates = '''"""Many gates."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> list:
    return await ctx.parallel(*(ctx.approve(f"Gate {n}?", {"text": "c" * 3_000}, name=f"gate_{n}") for n in range(15)))
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="many_gates", source=gates)
        run = await call(client, "invoke_workflow", name="many_gates")
        assert len({wait["digest"] for wait in run["waiting_for"]}) == 15
        code = "raise ValueError('e' * 300_000)"
        failed = value_of(await client.call_tool("run_code", {"code": code}))
        assert (failed["error"]["type"], failed["error"]["message"][:3]) == ("ValueError", "eee")


@pytest.mark.parametrize("value", ["", [], {}, None, 7, "x", [1], {"a": 1}, "\u20ac" * 999, [["x" * 99] * 99] * 99])
async def test_pages_cover_a_value_without_gaps_or_overlaps(value: Any) -> None:
    offset, parts = 0, list[Any]()
    while True:
        part = page(value, "", offset, 300)
        parts.append(part.value)
        if part.next_offset is None:
            break
        assert part.next_offset > offset
        offset = part.next_offset
    if isinstance(value, str):
        assert "".join(parts) == value
    elif isinstance(value, list):
        assert sum(len(part) for part in parts) == len(value)  # pyright: ignore[reportUnknownArgumentType]
    else:
        assert parts == [value]


async def test_pointers_follow_rfc_6901() -> None:
    document = {"a/b": {"m~n": [10, {"": 3}]}}
    assert find(document, "/a~1b/m~0n/0") == 10
    assert find(document, "/a~1b/m~0n/1/") == 3
    for bad in ("a", "/a", "/a~1b/m~0n/-1", "/a~1b/m~0n/01x", "/a~1b/m~0n/" + "9" * 400):
        with pytest.raises(InvalidArguments):
            find(document, bad)
