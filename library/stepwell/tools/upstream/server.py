"""An upstream MCP server as a source of tools."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.tools.messages import clean, failure
from stepwell.tools.mistakes import dotted
from stepwell.tools.sources import make_identifier
from stepwell.tools.tool import Tool
from stepwell.tools.upstream.config import McpServer, Reveal
from stepwell.tools.upstream.listing import Listed, fetch_listing, keep_listing, load_listing
from stepwell.tools.upstream.tool import UpstreamTool

if TYPE_CHECKING:
    from stepwell.tools.upstream.link import Connection, Link

LOOK_AGAIN_S = 15.0  # how often a tool that is not listed makes the listing be read anew
LIST_S = 20.0  # for all pages

log = logging.getLogger(__name__)


class UpstreamSource:
    """A `Source`: its server is started by the first call or the first look at a listing that nobody has yet."""

    def __init__(self, server: McpServer, namespace: str, kept: Path | None, reveal: Reveal) -> None:
        self.server = server
        self.name = namespace
        self.section = dotted(["mcp_servers", server.name])
        self.revision = 0
        self.problem = ""
        self._reveal = reveal
        self._file = None if kept is None else kept / f"{namespace}.json"
        self._tools: list[Tool] | None = None
        self._connection: Connection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._fresh = False
        self._looked = float("-inf")
        self._stale = False

    def tools(self) -> Sequence[Tool]:
        """Return the tools of the newest listing, else of the one that was kept on disk."""
        if self._tools is None:
            kept = None if self._file is None else load_listing(self._file, self.server.digest)
            if kept is not None:
                self._set(kept)
        return self._tools or []

    async def prepare(self, missing: str = "") -> None:
        """Read the listing if there is none, if the server says that it has changed, or to find a tool."""
        tools = self.tools()
        lacks = all(tool.spec.name != missing for tool in tools) if missing else self._tools is None
        rested = time.monotonic() - self._looked > LOOK_AGAIN_S
        busy = self._reading is not None and not self._reading.done()
        if self._stale or (lacks and (rested or busy)):
            await self._read()

    async def get(self) -> "Link":
        """Return a live link.

        Raises:
            ToolFailure: code `not_started`.
        """
        from stepwell.tools.upstream.link import NotReached  # noqa: PLC0415  loads the SDK, half a second

        try:
            link = await self._connect().get()
        except NotReached as error:
            self.problem = f"MCP server {self.server.name}: {error}"
            raise failure(
                self.name,
                f"{self.name}: the MCP server cannot be reached: {error}",
                code="not_started",
                retryable=True,
                hint=f"The operator can look at [{self.section}] in stepwell.toml.",
            ) from error
        self.problem = ""
        if not self._fresh:
            self._read_soon()
        return link

    async def relist(self) -> None:
        """Read the listing anew."""
        await self._read()

    async def close(self) -> None:
        """End the server."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._connection is not None:
            await self._connection.close()

    def _connect(self) -> "Connection":
        if self._connection is None:
            from stepwell.tools.upstream.link import Connection  # noqa: PLC0415  loads the SDK, half a second

            self._connection = Connection(self.server, self._changed, self._reveal)
        return self._connection

    def _changed(self) -> None:
        self._stale = True
        self._read_soon()

    def _read_soon(self) -> "asyncio.Task[None]":
        # One at a time: who comes meanwhile gets the same listing, and a change meanwhile leaves it stale.
        if self._reading is None or self._reading.done():
            self._fresh, self._stale = True, False
            self._reading = asyncio.create_task(self._fetch())
        return self._reading

    async def _read(self) -> None:
        await asyncio.wait([self._read_soon()])

    async def _fetch(self) -> None:
        self._looked = time.monotonic()
        try:
            async with asyncio.timeout(self.server.start_s + LIST_S):
                link = await self._connect().get()
                listing = await fetch_listing(link.client.session)
        except Exception as error:  # noqa: BLE001  foreign code on the other side; the listing stays what it was
            self._fresh = False
            reason = clean(str(error) or type(error).__name__, 300)
            self.problem = f"MCP server {self.server.name}: {reason}"
            log.warning("%s", self.problem)
            return
        self.problem = ""
        self._set(listing)
        if self._file is not None:
            await asyncio.to_thread(keep_listing, self._file, self.server.digest, listing)
        if self._stale:
            self._fresh = False

    def _set(self, listing: list[Listed]) -> None:
        tools: list[Tool] = []
        taken: set[str] = set()
        # Whoever has a fitting name gets it, whatever else would be mapped to it.
        for listed in sorted(listing, key=lambda tool: (make_identifier(tool.name) != tool.name, tool.name)):
            name = make_identifier(listed.name, taken)
            taken.add(name)
            tools.append(UpstreamTool(self.server, self.name, name, listed, self))
        self._tools = tools
        self.revision += 1


@asynccontextmanager
async def open_upstreams(
    servers: Sequence[tuple[str, McpServer]], kept: Path | None, reveal: Reveal
) -> AsyncGenerator[list[UpstreamSource], None]:
    """Give the sources, each with its namespace; none is started yet. On exit all that were started end."""
    sources = [UpstreamSource(server, namespace, kept, reveal) for namespace, server in servers]
    try:
        yield sources
    finally:
        closing = [asyncio.create_task(source.close()) for source in sources]
        if closing:
            await asyncio.wait(closing)
