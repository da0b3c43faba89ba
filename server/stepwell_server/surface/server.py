"""The MCP server: one table of tools for both eras of the protocol."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import anyio
from mcp.server import MCPServer, NotificationOptions
from mcp.server.mcpserver import Context
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, InputRequiredResult, Resource, Tool

from stepwell.engine import StartOptions
from stepwell.errors import NotFound, StepwellError
from stepwell_server.app import App
from stepwell_server.surface.arguments import DEFAULT_WAIT_S
from stepwell_server.surface.artifact_resources import add_artifacts, list_artifacts
from stepwell_server.surface.entries import make_entries
from stepwell_server.surface.guide import add_guides
from stepwell_server.surface.leads import Leads
from stepwell_server.surface.mistakes import check_size, near
from stepwell_server.surface.pinned import PREFIX, Audience, PinnedWatch, find_pinned, list_pinned
from stepwell_server.surface.replies import error_reply, internal_error_reply, shorten
from stepwell_server.surface.run_tools import start_and_follow
from stepwell_server.surface.secret import read_secret
from stepwell_server.surface.table import Answer, Call
from stepwell_server.surface.texts import INSTRUCTIONS

NAME = "stepwell"  # part of what seals a question's state: a change makes open questions be asked again
QUESTION_S = 86_400.0  # how long a question may be answered

log = logging.getLogger(__name__)


class StepwellServer(MCPServer[Any]):
    """Answers MCP clients on behalf of one `App`. Make it with `open_server`."""

    def __init__(self, app: App, key: bytes) -> None:
        self._audience = Audience()
        self._leads = Leads()
        super().__init__(
            NAME,
            title="Stepwell",
            description="Stored, durable, sandboxed Python workflows",
            instructions=INSTRUCTIONS,
            version=metadata.version("stepwell"),
            request_state_security=RequestStateSecurity(keys=[key], ttl=QUESTION_S),
            subscriptions=self._audience.bus,
            middleware=[self._audience.remember],
            log_level="WARNING",
        )
        self._app = app
        self._entries = make_entries()
        self.watch = PinnedWatch(app, self._audience.tell)
        self._announce_changes()
        add_guides(self)
        add_artifacts(self, app)

    async def list_tools(self) -> list[Tool]:
        """Return the fixed tools, then the pinned workflows."""
        return [entry.tool() for entry in self._entries.values()] + await list_pinned(self._app)

    async def list_resources(self) -> list[Resource]:
        """Return the guides, then what runs have saved."""
        return await super().list_resources() + await list_artifacts(self._app)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Answer one call; whatever goes wrong is a result that says what to do next."""
        try:
            return await self._answer(name, arguments, Call(self._app, context, self._leads))
        except StepwellError as error:
            return error_reply(error)
        except MCPError:
            raise
        except Exception:
            log.exception("the tool %s failed", shorten(name, 80))
            return internal_error_reply()

    async def _answer(self, name: str, arguments: dict[str, Any], call: Call) -> Answer:
        check_size(arguments)
        if entry := self._entries.get(name):
            answer = await entry.call(call, arguments)
            if name in ("create_workflow", "delete_workflow"):
                await self.watch.check()
            return answer
        if name.startswith(PREFIX):
            workflow = await find_pinned(self._app, name)
            return await start_and_follow(call, workflow.name, arguments, StartOptions(), DEFAULT_WAIT_S)
        others = near(name, self._entries)
        raise NotFound(
            f"There is no tool {shorten(name, 60)!a}.",
            hint=f"Did you mean {' or '.join(others)}?" if others else f"Tools: {', '.join(self._entries)}.",
        )

    async def serve_streams(self, reader: Any, writer: Any) -> None:
        """Serve one connection until its reading side closes."""
        server = self._lowlevel_server
        await server.run(reader, writer, server.create_initialization_options())

    def _announce_changes(self) -> None:
        # MCPServer gives clients of the handshake era no notification options, and so says listChanged: false.
        server = self._lowlevel_server
        make = server.create_initialization_options

        def with_changes(
            notification_options: NotificationOptions | None = None,
            experimental_capabilities: dict[str, dict[str, Any]] | None = None,
            extensions: dict[str, dict[str, Any]] | None = None,
        ) -> InitializationOptions:
            options = notification_options or NotificationOptions(tools_changed=True)
            return make(options, experimental_capabilities, extensions)

        server.create_initialization_options = with_changes


@asynccontextmanager
async def open_server(app: App) -> AsyncGenerator[StepwellServer, None]:
    """Make a server and watch for changes of its tools while it is open."""
    server = StepwellServer(app, read_secret(app.home.path))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.watch.run)
        yield server
        tasks.cancel_scope.cancel()
