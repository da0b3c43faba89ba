"""What keeps a catalogue good: use, near-duplicates, learned requests, files."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cli.processes import Stepwell
from mcp_clients import call, connect
from stepwell.catalog.catalog import Catalog
from stepwell.errors import StoreError
from stepwell.search.index import SearchIndex, View
from stepwell_server import Session
from stepwell_server.app import open_app

T = TypeVar("T")

FETCH = '"""Fetch a page and return its text."""\n\n\ndef run(url: str) -> str:\n    return tools.fetch(url=url)\n'
DIVIDE = '"""Divide two numbers."""\n\n\ndef run(left: int, right: int = 1) -> float:\n    return left / right\n'


@pytest.mark.asyncio
async def test_runs_are_counted_and_the_list_can_be_narrowed_by_them() -> None:
    async with Session() as session:
        await session.add_workflow("divide", DIVIDE)
        await session.add_workflow("fetch_page", FETCH)
        await session.run("divide", left=4)
        await session.run("divide", left=4, right=0)
        usage = (await session.app.catalog.get("divide")).usage
        assert (usage.completed, usage.failed, usage.success_rate) == (1, 1, 0.5)
        assert usage.last_error == "division by zero"
        assert usage.median_seconds is not None

        async def names(only: Any) -> list[str]:
            return [item.name for item in (await session.app.catalog.list(only=only)).items]

        assert [await names(only) for only in ("used", "unused", "failing", "pinned")] == [
            ["divide"], ["fetch_page"], ["divide"], [],
        ]  # fmt: skip
        await session.run("divide", left=4)
        assert await names("failing") == []
        await session.delete_workflow("divide")
        await session.add_workflow("divide", DIVIDE)
        assert (await session.app.catalog.get("divide")).usage.completed == 0


@pytest.mark.asyncio
async def test_a_workflow_that_does_what_another_one_does_is_warned_of() -> None:
    async with Session() as session:
        await session.add_workflow("fetch_page", FETCH)
        await session.add_workflow("divide", DIVIDE)
        again = await session.add_workflow("fetch_page_text", FETCH.replace("a page", "one page"))
        [warning] = [item for item in again.warnings if item.code == "near_duplicate"]
        assert "`fetch_page`" in warning.message
        assert "replace=True" in warning.message
        assert again.similar[0] == "fetch_page"
        copied = await session.add_workflow("something_else", DIVIDE, description="Share a cake fairly")
        assert [item.code for item in copied.warnings if "same source" in item.message] == ["near_duplicate"]
        other = await session.add_workflow(
            "water", '"""Water the plants."""\ndef run(garden: str) -> str:\n    return garden'
        )
        assert other.warnings == ()


class Unreadable(SearchIndex):
    async def run(self, work: Callable[[View], T]) -> T:
        raise StoreError("the disk is gone")


@pytest.mark.asyncio
async def test_a_workflow_is_stored_also_where_none_like_it_can_be_looked_for() -> None:
    async with Session() as session:
        database = session.app.database
        index = Unreadable(database.path, session.app.indexing.models)
        created = await Catalog(database, index=index).create("divide", DIVIDE)
        index.close()
        assert (created.created, created.similar) == (True, ())
        assert (await session.app.catalog.get("divide")).description == "Divide two numbers."


@pytest.mark.asyncio
async def test_the_request_that_led_to_a_completed_run_is_learned(tmp_path: Path) -> None:
    async with open_app(tmp_path / "home") as app, connect(app) as client:
        await call(client, "create_workflow", name="divide", source=DIVIDE)
        await call(client, "create_workflow", name="fetch_page", source=FETCH)

        async def learned(name: str) -> list[str]:
            return (await call(client, "get_workflow", name=name))["usage"]["learned"]

        await call(client, "search_workflows", query="share numbers of cake among two guests")
        await call(client, "invoke_workflow", name="divide", arguments={"left": 4, "right": 2})
        assert await learned("divide") == ["share numbers of cake among two guests"]
        await call(client, "search_workflows", query="what are numbers divided by nothing")
        failed = await client.call_tool("invoke_workflow", {"name": "divide", "arguments": {"left": 4, "right": 0}})
        assert failed.is_error
        await call(client, "invoke_workflow", name="divide", arguments={"left": 1})
        assert await learned("divide") == ["share numbers of cake among two guests"]
        assert await learned("fetch_page") == []
        await app.indexing.prepare(10)
        found = await call(client, "search_workflows", query="cake for guests")
        assert found["workflows"][0]["name"] == "divide"


@pytest.mark.asyncio
async def test_learning_can_be_turned_off(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stepwell.toml").write_text("[search]\nlearn = false\n")
    async with open_app(tmp_path / "home") as app, connect(app) as client:
        await call(client, "create_workflow", name="divide", source=DIVIDE)
        await call(client, "search_workflows", query="divide numbers fairly")
        await call(client, "invoke_workflow", name="divide", arguments={"left": 4})
        assert (await call(client, "get_workflow", name="divide"))["usage"]["learned"] == []


def test_what_is_exported_is_imported_as_it_was(stepwell: Stepwell, tmp_path: Path) -> None:
    odd = '# -*- coding: utf-8 -*-\n"""Ünï — "quoted" \\\\ text."""\nfrom __future__ import annotations\n\ndef run(x: int):\n    return x\n'
    stepwell.create(
        "fetch_page", FETCH, "--tag", "web", "--intent", 'what does "the page" say\\ü', "--description", "Read"
    )
    stepwell.create("odd", odd)
    stepwell.create("chosen", "def one():\n    return 1\n\n\ndef two():\n    return 2\n", "--entry", "two")
    stepwell.json("pin", "odd")
    first, second = tmp_path / "first", tmp_path / "second"
    assert stepwell.json("export", str(first))["files"] == ["chosen.py", "fetch_page.py", "odd.py"]
    assert (first / "odd.py").read_text().endswith(odd)
    other = Stepwell(tmp_path / "other")
    done = other.json("import", str(first))["workflows"]
    assert [(item["name"], item["done"]) for item in done] == [(n, "created") for n in ("chosen", "fetch_page", "odd")]
    kept = ("name", "source", "version", "description", "intents", "tags", "entry", "pinned")
    for name in ("chosen", "fetch_page", "odd"):
        before, after = stepwell.json("get", name), other.json("get", name)
        assert {key: before[key] for key in kept} == {key: after[key] for key in kept}
    other.json("export", str(second))
    assert subprocess.run(["diff", "-r", first, second], check=False).returncode == 0
    assert {item["done"] for item in other.json("import", str(first))["workflows"]} == {"unchanged"}
    (first / "odd.py").write_text('# /// stepwell\n# colour = "red"\n# ///\n' + odd)
    (first / "fetch_page.py").write_text(FETCH.replace("text", "words"))
    refused = other.here("import", str(first), "--output", "json")
    assert refused.code == 1
    assert [item["done"] for item in refused.data["workflows"]] == ["unchanged", "refused", "refused"]
    assert "colour" in refused.data["workflows"][2]["message"]
    assert other.here("import", str(first / "fetch_page.py"), "--replace").code == 0


def test_a_workflow_is_exported_as_a_skill(stepwell: Stepwell, tmp_path: Path) -> None:
    stepwell.create("fetch_page", FETCH, "--intent", "read me this page")
    done = stepwell.json("export", str(tmp_path), "--skill", "fetch_page")
    assert done["files"] == ["SKILL.md", "scripts/fetch_page.py"]
    text = (tmp_path / "fetch-page" / "SKILL.md").read_text()
    assert text.startswith('---\nname: fetch-page\ndescription: "Fetch a page and return its text. Use it for')
    assert "invoke_workflow(name='fetch_page'" in text
    assert "| `url` | str | yes |" in text
    other = Stepwell(tmp_path / "other")
    other.json("create", str(tmp_path / "fetch-page" / "scripts" / "fetch_page.py"))
    assert other.json("get", "fetch_page")["intents"] == ["read me this page"]
