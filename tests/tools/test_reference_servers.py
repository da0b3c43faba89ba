"""The reference servers of the protocol, which `make setup` installs where it can."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import Binary
from stepwell.tools import open_toolbox
from stepwell.tools.upstream import McpServer
from tools.loopback import CONTEXT, Site, call

INSTALLED = Path(__file__).parents[2] / ".venv-servers"
FOLDERS = (INSTALLED / "bin", INSTALLED / "node_modules" / ".bin")


def command(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"the reference server {name} is not installed")
    return found


@pytest.mark.slow
@pytest.mark.asyncio
async def test_everything() -> None:
    async with open_toolbox(servers=[McpServer("every", command("mcp-server-everything"))]) as box:
        await box.prepare("every.echo")
        assert await call(box, "every.echo", message="hi") == "Echo: hi"
        assert await call(box, "every.get_sum", a=1, b=2) == "The sum of 1 and 2 is 3."
        saved: list[Binary] = []

        async def save(binary: Binary) -> JsonObject:
            saved.append(binary)
            return {"artifact": "a"}

        spec = box.find_tool("every.get_tiny_image")
        assert spec is not None
        parts = await box.call(spec, {}, replace(CONTEXT, save=save))
        assert [part["type"] for part in parts] == ["text", "image", "text"]
        assert saved[0].data.startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_filesystem(tmp_path: Path) -> None:
    async with open_toolbox(servers=[McpServer("files", command("mcp-server-filesystem"), (str(tmp_path),))]) as box:
        await box.prepare("files.write_file")
        path = str(tmp_path / "x.txt")
        assert "Successfully" in str(await call(box, "files.write_file", path=path, content="hi"))
        assert await call(box, "files.read_text_file", path=path) == {"content": "hi"}
        write, read = box.find_tool("files.write_file"), box.find_tool("files.read_text_file")
        assert write is not None
        assert read is not None
        assert (write.policy, read.policy) == ("approve", "allow")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_git_time_and_fetch(tmp_path: Path, site: Site) -> None:
    site.page(
        "/", b"<html><body><h1>Wells</h1><p>Steps lead down.</p></body></html>", headers={"Content-Type": "text/html"}
    )
    servers = [
        McpServer("git", command("mcp-server-git")),
        McpServer("time", command("mcp-server-time")),
        McpServer("pages", command("mcp-server-fetch"), ("--ignore-robots-txt",)),
    ]
    made = await asyncio.create_subprocess_exec("git", "init", "--quiet", str(tmp_path))
    await made.wait()
    async with open_toolbox(servers=servers) as box:
        await asyncio.gather(*(box.prepare(f"{server.name}.x") for server in servers))
        assert "No commits yet" in str(await call(box, "git.git_status", repo_path=str(tmp_path)))
        now = await call(box, "time.get_current_time", timezone="UTC")
        assert "UTC" in str(now)
        try:
            assert "Steps lead down." in str(await call(box, "pages.fetch", url=site.url("/", "127.0.0.1")))
        except ToolFailure as error:  # newer ones go to no private address, and older ones know no option for it
            if "--allow-private-ips" not in error.message:
                raise
        with pytest.raises(ToolFailure) as caught:
            await call(box, "time.get_current_time", timezone="Nowhere/None")
        assert caught.value.code == "tool_error"
