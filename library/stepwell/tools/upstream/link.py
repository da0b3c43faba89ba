"""A connection to an upstream server: made when it is needed, kept, and made again when it has ended."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext
from mcp.client.subscriptions import SubscriptionLost
from mcp.types import (
    INTERNAL_ERROR,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    Implementation,
    ServerNotification,
    ToolListChangedNotification,
)

from stepwell.errors import ToolFailure
from stepwell.ports import Asker
from stepwell.tools.messages import clean
from stepwell.tools.upstream.asking import as_inquiry, as_result
from stepwell.tools.upstream.config import McpServer, MissingVariable, Reveal, expand
from stepwell.tools.upstream.http import open_http
from stepwell.tools.upstream.stdio import Child, Replies, Requests, run_child
from stepwell.tools.upstream.wire import LOST, UNSENT

REST_S = 2.0  # after a start that failed: calls within it get the same error
HEARD_S = 5.0  # for the first word of the stream that tells of changes
LISTEN_AGAIN_S = 1.0  # before the stream is opened anew, doubled for one that does not last
LISTEN_REST_S = 60.0
CLIENT = Implementation(name="stepwell", title="Stepwell", version="1")

log = logging.getLogger(__name__)


class NotReached(Exception):
    """The server could not be started or reached; nothing was sent to it. The text says why."""


@dataclass(slots=True)
class Link:
    """One live connection."""

    client: Client
    ended: asyncio.Event
    """Set when nothing can come from it any more."""
    askers: list[Asker] = field(default_factory=list[Asker])
    """Of the calls under way, in their order: a question of the server does not say which call it belongs to."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a change of the listing from here on is heard of, as far as that is possible."""

    @property
    def modern(self) -> bool:
        """Whether it speaks the protocol without sessions, of 2026."""
        return self.client.protocol_version >= "2026-01-01"


class Connection:
    """At most one link at a time, kept by a task of its own: the SDK's client must be left where it was entered."""

    def __init__(self, server: McpServer, namespace: str, changed: Callable[[], None], reveal: Reveal) -> None:
        self._server = server
        self._namespace = namespace
        self._changed = changed
        self._reveal = reveal
        self._link: Link | None = None
        self._keepers: list[asyncio.Task[None]] = []
        """The newest, and those before that still close what they had."""
        self._starting: asyncio.Future[Link] | None = None
        self._failed: tuple[float, NotReached] | None = None

    async def get(self) -> Link:
        """Return the live link; make one if there is none.

        Raises:
            NotReached: there is none to be had.
        """
        if self._link is not None and not self._link.ended.is_set():
            return self._link
        if self._failed is not None and time.monotonic() - self._failed[0] < REST_S:
            raise self._failed[1]
        if self._starting is None or self._starting.done():
            self._starting = asyncio.get_running_loop().create_future()
            previous = [keeper for keeper in self._keepers if not keeper.done()]
            self._keepers = [*previous, asyncio.create_task(self._keep(self._starting, previous))]
        return await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End the link and the process behind it."""
        for keeper in self._keepers:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)

    async def _keep(self, ready: "asyncio.Future[Link]", previous: "list[asyncio.Task[None]]") -> None:
        try:
            for keeper in previous:
                keeper.cancel()
            if previous:
                await asyncio.wait(previous)
            async with self._open() as link:
                self._link, self._failed = link, None
                ready.set_result(link)
                listening = asyncio.create_task(self._listen(link))
                try:
                    await link.ended.wait()
                finally:
                    listening.cancel()
                    await asyncio.wait([listening])
        except Exception as error:  # noqa: BLE001  foreign code on the other side: whatever it is, the next call starts anew
            reason = error if isinstance(error, NotReached) else NotReached(_reason(error))
            if not ready.done():
                self._failed = time.monotonic(), reason
                ready.set_exception(reason)
                ready.exception()  # nobody may wait for it any more
            else:
                log.warning("MCP server %s: the connection ended: %s", self._server.name, reason)
        finally:
            self._link = None
            if not ready.done():
                ready.set_exception(NotReached("this process is ending"))
                ready.exception()

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Link, None]:
        server = self._server
        try:
            words = [expand(word) for word in (server.command, *server.args)]
            url = expand(server.url)
            hosts = (httpx.URL(url).host.rstrip("."),) if url else ()
            given = (server.env or server.headers).items()
            values = {name: await self._reveal(expand(text), self._namespace, hosts) for name, text in given}
        except (MissingVariable, ToolFailure, httpx.InvalidURL) as error:
            raise NotReached(str(error)) from error
        if url:
            ended = asyncio.Event()
            async with open_http(url, values, server.timeout_s) as streams, self._client(streams, ended) as link:
                yield link
            return
        async with _child(words, values, server) as child:
            try:
                async with self._client((Replies(child), Requests(child)), child.ended) as link:
                    yield link
            except NotReached as error:
                said = await child.last_words()
                raise NotReached(f"{error}: {said}" if said else str(error)) from error

    @asynccontextmanager
    async def _client(self, streams: Any, ended: asyncio.Event) -> AsyncGenerator[Link, None]:
        link: Link | None = None

        async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
            if not isinstance(params, ElicitRequestFormParams):
                return ErrorData(code=INTERNAL_ERROR, message="only forms can be shown here")
            if link is None or not link.askers:
                return ElicitResult(action="cancel")
            return as_result(await link.askers[-1](as_inquiry(params)))

        async def told(message: Any) -> None:
            if isinstance(message, ToolListChangedNotification):
                self._changed()
            elif isinstance(message, Exception) and not isinstance(message, ServerNotification):
                log.debug("MCP server %s: %s", self._server.name, message)

        client = Client(
            _given(streams),
            elicitation_callback=elicit,
            message_handler=told,
            client_info=CLIENT,
            cache=None,
        )
        entered = asyncio.timeout(self._server.start_s)
        try:
            async with entered:
                await client.__aenter__()
        except TimeoutError as error:
            raise NotReached(f"gave no first answer within {self._server.start_s:g} s") from error
        except Exception as error:
            raise NotReached(f"did not answer as an MCP server: {_reason(error)}") from error
        link = Link(client, ended)
        try:
            yield link
        finally:
            await client.__aexit__(None, None, None)

    async def _listen(self, link: Link) -> None:
        """Hear of changes of the listing: in the protocol of 2026 a stream of its own, which may end at any time."""
        capabilities = link.client.server_capabilities.tools
        if not link.modern or capabilities is None or not capabilities.list_changed:
            link.heard.set()
            return
        pause_s = LISTEN_AGAIN_S
        while True:
            began = time.monotonic()
            try:
                async with (
                    asyncio.timeout(HEARD_S) as acknowledged,
                    link.client.listen(tools_list_changed=True) as told,
                ):
                    acknowledged.reschedule(None)
                    if link.heard.is_set():
                        self._changed()  # what was said meanwhile is lost
                    link.heard.set()
                    async for _ in told:
                        self._changed()
            except MCPError as error:
                if error.error.code not in (LOST, UNSENT):
                    return  # without the stream its listing is looked at anew with each connection
            except (SubscriptionLost, TimeoutError):
                pass
            finally:
                link.heard.set()
            pause_s = LISTEN_AGAIN_S if time.monotonic() - began > LISTEN_REST_S else min(2 * pause_s, LISTEN_REST_S)
            await asyncio.sleep(pause_s)


@asynccontextmanager
async def _child(words: list[str], values: dict[str, str], server: McpServer) -> AsyncGenerator[Child, None]:
    running = run_child(words, values, server.cwd)
    try:
        child = await running.__aenter__()
    except (OSError, ValueError) as error:
        raise NotReached(clean(f"{words[0]} could not be started: {error}", 300)) from error
    try:
        yield child
    finally:
        await running.__aexit__(None, None, None)


@asynccontextmanager
async def _given(streams: Any) -> AsyncGenerator[Any, None]:
    yield streams


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return clean(str(error) or type(error).__name__, 300)
