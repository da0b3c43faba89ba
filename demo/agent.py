"""The agent's side: a real MCP client with a real server process of its own."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claims import NotAsClaimed, check
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult

SERVER = (sys.executable, "-m", "stepwell_server.cli", "serve")


class Agent:
    """Calls tools as a model would."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result.

        Raises:
            NotAsClaimed: the tool answered with an error, or its text says something else than its structure.
        """
        result = await self.client.call_tool(tool, arguments)
        if not isinstance(result, CallToolResult) or result.is_error:
            raise NotAsClaimed(f"{tool} answered with an error: {_text(result)}")
        structured: dict[str, Any] = result.structured_content or {}
        check(f"{tool}: text and structured content are the same", json.loads(_text(result)), structured)
        return structured


@asynccontextmanager
async def start_server(home: Path) -> AsyncGenerator[Agent, None]:
    """Start a server on that home and connect to it; its standard error goes to `server.log` there."""
    command, *arguments = (*SERVER, "--home", str(home))
    with (home / "server.log").open("a") as log:
        parameters = StdioServerParameters(command=command, args=arguments)
        async with Client(stdio_client(parameters, errlog=log), read_timeout_seconds=45) as client:
            yield Agent(client)


def _text(result: Any) -> str:
    content: list[Any] = getattr(result, "content", [])
    return "".join(getattr(part, "text", "") for part in content)
