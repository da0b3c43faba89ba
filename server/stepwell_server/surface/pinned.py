"""Pinned workflows as tools of their own: `wf_<name>`."""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged
from mcp.types import Tool

from stepwell.errors import NotFound
from stepwell.model import Workflow
from stepwell_server.app import App
from stepwell_server.surface.eras import MODERN
from stepwell_server.surface.replies import shorten
from stepwell_server.surface.table import Hints

PREFIX = "wf_"
MAX_PINNED = 64  # tools; clients cap what they load at about 128 in all
MAX_DESCRIPTION = 1000  # characters
TELL_S = 1.0  # for a client that does not read
POLL_S = 1.0  # between looks at whether another process has changed the store

log = logging.getLogger(__name__)

_HINTS = Hints(destructive=True, open_world=True)


async def list_pinned(app: App) -> list[Tool]:
    """Return the tools of the pinned workflows, by name."""
    workflows = await app.catalog.pinned()
    return [_tool(workflow) for workflow in workflows[:MAX_PINNED]]


def _tool(workflow: Workflow) -> Tool:
    title = workflow.name.replace("_", " ").capitalize()
    return Tool(
        name=f"{PREFIX}{workflow.name}",
        title=title,
        description=shorten(workflow.description or f"Run the workflow {workflow.name}.", MAX_DESCRIPTION),
        input_schema={"type": "object"} | workflow.version.schema,
        annotations=_HINTS.annotate(),
    )


async def find_pinned(app: App, tool: str) -> Workflow:
    """Return the pinned workflow behind a tool's name.

    Raises:
        NotFound: it does not exist or is not pinned; the hint names the call that works.
    """
    name = tool.removeprefix(PREFIX)
    workflow = await app.catalog.get(name)
    if not workflow.pinned:
        raise NotFound(
            f"The workflow {name} is not offered as a tool.",
            hint=f'Call invoke_workflow(name="{name}", arguments={{...}}); a user can pin it: stepwell pin {name}.',
        )
    return workflow


class Audience:
    """The clients that are told when the list of tools has changed."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        # Clients of the handshake era are reached through their connection; the SDK's per-request session hides it.
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()

    async def remember(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware of the server: note who speaks."""
        if ctx.protocol_version < MODERN:
            self._connections.add(ctx.session._connection)  # pyright: ignore[reportPrivateUsage]
        return await call_next(ctx)

    async def tell(self) -> None:
        """Tell all of them, in the way of their era."""
        await self.bus.publish(ToolsListChanged())
        for connection in list(self._connections):
            if connection.initialized.is_set():
                with anyio.move_on_after(TELL_S):
                    await connection.send_tool_list_changed()


class PinnedWatch:
    """Notices changes of the pinned workflows, whoever made them."""

    def __init__(self, app: App, tell: Callable[[], Awaitable[None]]) -> None:
        self._app = app
        self._tell = tell
        self._shown: list[tuple[str, str, str]] | None = None
        self._version = -1

    async def check(self) -> None:
        """Compare with what was shown last; tell the clients if it differs."""
        workflows = await self._app.catalog.pinned()
        shown = [(item.name, item.version.hash, item.description) for item in workflows[:MAX_PINNED]]
        before, self._shown = self._shown, shown
        if before is not None and before != shown:
            await self._tell()

    async def run(self) -> None:
        """Look for changes of other processes until cancelled."""
        while True:
            try:
                version = await self._app.database.data_version()
                if version != self._version:
                    self._version = version
                    await self.check()
            except Exception:
                log.exception("changes of the pinned workflows could not be looked for")
            await asyncio.sleep(POLL_S)
