"""An MCP server made with the SDK, of both eras: `python sdk_server.py [http=PORT]`, which prints its port."""

import socket
import sys
from typing import Annotated, Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import ToolsListChanged
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

READ = ToolAnnotations(read_only_hint=True)
bus = InMemorySubscriptionBus()
server = MCPServer("sdk", subscriptions=bus, log_level="ERROR")


class Order(BaseModel):
    size: str = Field(description="S or L")
    count: int = Field(ge=1)
    gift: bool = False


def asked() -> Elicit[Order]:
    return Elicit("What shall it be?", Order)


@server.tool(annotations=READ)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=READ)
def person() -> dict[str, Any]:
    """Return who."""
    return {"name": "Ada", "tags": ["x"]}


@server.tool()
def order(what: str, details: Annotated[ElicitationResult[Order], Resolve(asked)]) -> str:
    """Order something; asks for details."""
    if isinstance(details, AcceptedElicitation):
        return f"{details.data.count} x {what} {details.data.size}{' as a gift' if details.data.gift else ''}"
    return f"no {what}"


@server.tool(annotations=READ)
async def grow(ctx: Context[Any, Any]) -> str:
    """Add a tool."""

    def grown() -> str:
        """Be new."""
        return "new"

    server.add_tool(grown, annotations=READ)
    await bus.publish(ToolsListChanged())
    return "grew"


@server.tool(annotations=READ)
def huge(megabytes: int) -> str:
    """Say a lot."""
    return "x" * (megabytes * 1024 * 1024)


def main() -> None:
    if not sys.argv[1:]:
        server.run()
        return
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", int(sys.argv[1].removeprefix("http="))))
    listening.listen()  # before the port is told: whoever connects at once waits instead of being refused
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
