"""The table of tools: what a client is told of each, and what answers its calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, InputRequiredResult, Tool, ToolAnnotations
from pydantic import BaseModel

from stepwell.model import JsonObject
from stepwell_server.app import App
from stepwell_server.surface.leads import Leads
from stepwell_server.surface.mistakes import read_arguments
from stepwell_server.surface.schemas import input_schema, shown_schema

Answer = CallToolResult | InputRequiredResult


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client."""

    app: App
    context: Context[Any, Any] | None
    """None where the server is called without a connection."""
    leads: Leads = field(default_factory=Leads)
    """The searches of the server's clients."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What a host may assume when it asks its user for permission."""

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    def annotate(self) -> ToolAnnotations:
        """Return them in the protocol's form."""
        return ToolAnnotations(
            read_only_hint=self.read_only,
            destructive_hint=self.destructive,
            idempotent_hint=self.idempotent,
            open_world_hint=self.open_world,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One tool of the fixed set."""

    name: str
    title: str
    description: str
    model: type[BaseModel]
    handler: Callable[[Call, Any], Awaitable[Answer]]
    hints: Hints
    always_load: bool = False
    """Hosts that load schemas on demand load this one at once."""

    def tool(self) -> Tool:
        """Return what `tools/list` shows."""
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=shown_schema(self.model),
            annotations=self.hints.annotate(),
            _meta={"anthropic/alwaysLoad": True} if self.always_load else None,
        )

    async def call(self, call: Call, arguments: JsonObject) -> Answer:
        """Check the arguments and answer.

        Raises:
            InvalidArguments: they do not fit.
        """
        return await self.handler(call, read_arguments(self.name, self.model, input_schema(self.model), arguments))
