"""The agent's side: a real MCP client with a real server process of its own."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from claims import NotAsClaimed, check

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
        structured: dict[str, Any] = result.structured_content or {}
        if result.is_error:
            error: dict[str, Any] = structured.get("error") or {"message": _text(result)}
            raise NotAsClaimed(f"{tool} answered with an error: {error['message']}\n{error.get('hint') or ''}")
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


def _text(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if isinstance(part, TextContent))
