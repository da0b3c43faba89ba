"""A server on stdio is killed; what was stored is found by the next one."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from mcp_clients import LIMIT_S, SERVE, call

# The client keeps the server's id to itself.
NOTE_PID = 'echo $$ > "$1"; shift; exec "$@"'


def server(home: Path, models: Path, pid: Path) -> Client:
    return Client(
        StdioServerParameters(
            command="/bin/sh",
            args=["-c", NOTE_PID, "sh", str(pid), sys.executable, *SERVE, str(home)],
            env={"STEPWELL_SEARCH_MODELS": str(models), "HF_HUB_OFFLINE": "1"},
        )
    )


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_was_stored_before_a_kill_is_found_by_words_and_by_meaning(models: Path, tmp_path: Path) -> None:
    home, pid = tmp_path / "home", tmp_path / "pid"
    async with asyncio.timeout(LIMIT_S):
        async with server(home, models, pid) as client:
            for name, said in {"resize_images": "Shrink pictures to a width", "clean_csv": "Fix headers"}.items():
                source = f'"""{said}."""\n\n\ndef run(target: str) -> str:\n    return target\n'
                await call(client, "create_workflow", name=name, source=source)
            assert await first(client, "shrink pictures") == "resize_images"
            os.kill(int(pid.read_text()), signal.SIGKILL)
        async with server(home, models, pid) as client:
            assert await first(client, "shrink pictures") == "resize_images"
            while True:
                found = await search(client, "make photos smaller")
                if found["mode"] == "hybrid" and not found["pending"]:
                    break
                await asyncio.sleep(0.02)
            assert found["workflows"][0]["name"] == "resize_images"
            assert found["workflows"][0]["why"].startswith("meaning 0.")


async def search(client: Client, query: str) -> dict[str, Any]:
    return await call(client, "search_workflows", query=query)


async def first(client: Client, query: str) -> str:
    return (await search(client, query))["workflows"][0]["name"]
