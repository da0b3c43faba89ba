"""An upstream MCP server as a source of tools."""

import asyncio
import logging
import time
from collections.abc import Sequence
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
WAIT_AT_ONCE = 25  # calls that wait for its start: of a thousand a few go on in one turn of the event loop

log = logging.getLogger(__name__)


class UpstreamSource:
    """A `Source`: its server is started by the first call or the first look at a listing that nobody has yet."""

    def __init__(self, server: McpServer, namespace: str, kept: Path | None, reveal: Reveal) -> None:
        self.server = server
        self.name = namespace
        self.section = dotted(["mcp_servers", server.name])
        self.revision = 0
        self._places = asyncio.Semaphore(WAIT_AT_ONCE)
        self.problem = ""
        self._reveal = reveal
        self._file = None if kept is None else kept / f"{namespace}.json"
        self._tools: list[Tool] | None = None
        self._names: frozenset[str] = frozenset()
        self._listing: dict[str, Listed] = {}
        self._connection: Connection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._listed: Link | None = None
        """Whose listing was asked for last: behind another link there may be another server."""
        self._looked = float("-inf")
        self._stale = False
        self._broken = False

    def tools(self) -> Sequence[Tool]:
        """Return the tools of the newest listing, else of the one that was kept on disk."""
        if self._tools is None:
            kept = None if self._file is None else load_listing(self._file, self.server.digest)
            if kept is not None:
                self._set(kept)
        return self._tools or []

    async def prepare(self, missing: str = "") -> None:
        """Read the listing if there is none, if the server says that it has changed, or to find a tool.

        Nobody waits for a server that was broken the last time, unless for a tool that only it may have.
        """
        patient = not self._broken or bool(missing and self._lacks(missing))
        if patient and self._reading is not None and self._wants(missing):
            await asyncio.wait([self._reading])  # it may have begun before the change
        if self._wants(missing) and time.monotonic() - self._looked > LOOK_AGAIN_S:
            reading = self._read()
            if patient:
                await asyncio.wait([reading])

    async def get(self) -> "Link":
        """Return a live link.

        Raises:
            ToolFailure: code `not_started`.
        """
        from stepwell.tools.upstream.link import NotReached  # noqa: PLC0415  loads the SDK, half a second

        try:
            async with self._places:
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
        if link is not self._listed:
            self._read()
        return link

    async def relist(self) -> None:
        """Read the listing anew."""
        await asyncio.wait([self._read()])

    async def newest(self, name: str) -> Listed | None:
        """Return the tool as the server lists it; the listing is read anew unless that was done just now."""
        if time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._read()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self._listing.get(name)

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

            self._connection = Connection(self.server, self.name, self._changed, self._reveal)
        return self._connection

    def _changed(self) -> None:
        # It is read by whoever needs it next: a server that says so all the time makes no work by that.
        self._stale = True
        if not self._broken:
            self._looked = float("-inf")

    def _lacks(self, name: str) -> bool:
        self.tools()
        return name not in self._names if name else self._tools is None

    def _wants(self, missing: str) -> bool:
        return self._lacks(missing) or self._stale

    def _read(self) -> "asyncio.Task[None]":
        # One at a time: who comes meanwhile gets the same listing, and a change meanwhile leaves it stale.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._fetch())
        return self._reading

    async def _fetch(self) -> None:
        self._stale, self._looked = False, time.monotonic()
        try:
            async with asyncio.timeout(self.server.start_s + LIST_S):
                link = self._listed = await self._connect().get()
                await link.heard.wait()
                listing = await fetch_listing(link.client.session)
        except Exception as error:  # noqa: BLE001  foreign code on the other side; the listing stays what it was
            self._stale = self._broken = True
            self._looked = time.monotonic()
            reason = clean(str(error) or type(error).__name__, 300)
            self.problem = f"MCP server {self.server.name}: {reason}"
            log.warning("%s", self.problem)
            return
        self.problem, self._broken = "", False
        self._set(listing)
        if self._file is not None:
            await asyncio.to_thread(keep_listing, self._file, self.server.digest, listing)

    def _set(self, listing: list[Listed]) -> None:
        tools: list[Tool] = []
        taken: set[str] = set()
        # Whoever has a fitting name gets it, whatever else would be mapped to it.
        for listed in sorted(listing, key=lambda tool: (make_identifier(tool.name) != tool.name, tool.name)):
            name = make_identifier(listed.name, taken)
            taken.add(name)
            tools.append(UpstreamTool(self.server, self.name, name, listed, self))
        self._tools, self._names = tools, frozenset(tool.spec.name for tool in tools)
        self._listing = {listed.name: listed for listed in listing}
        self.revision += 1
