"""One tool of an upstream server."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, Inquiry, Reply, ToolSpec
from stepwell.tools.messages import clean, failure
from stepwell.tools.tool import OutcomeUnknown
from stepwell.tools.upstream.config import McpServer
from stepwell.tools.upstream.listing import Listed
from stepwell.tools.upstream.results import read_result

if TYPE_CHECKING:
    from stepwell.tools.upstream.link import Link
    from stepwell.tools.upstream.output import OutputCheck

log = logging.getLogger(__name__)

MAX_DESCRIPTION = 4000  # characters
MAX_RETURNS = 120
_TYPES = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict",
}  # fmt: skip


class Links(Protocol):
    """Where a tool gets its connection."""

    async def get(self) -> "Link":
        """Return a live link, or raise ToolFailure with the code `not_started`."""
        ...

    async def relist(self) -> None:
        """Read the listing anew."""
        ...

    async def newest(self, name: str) -> Listed | None:
        """Return the tool of that name on the server as it is listed now."""
        ...


class UpstreamTool:
    """`tools.<server>.<name>(...)`."""

    def __init__(self, server: McpServer, namespace: str, name: str, listed: Listed, links: Links) -> None:
        self._server = server
        self._listed = listed
        self._links = links
        self._output: OutputCheck | None = None
        read_only = listed.hints.get("readOnlyHint") is True
        self.spec = ToolSpec(
            name=f"{namespace}.{name}",
            description=clean(listed.description, MAX_DESCRIPTION),
            schema=listed.schema,
            returns=_returns(listed.output),
            read_only=read_only,
            idempotent=listed.hints.get("idempotentHint") is True and not read_only,
            destructive=listed.hints.get("destructiveHint") is True and not read_only,
            takes_key=("meta",),
            origin=clean(f"MCP server {server.name}, tool {listed.name}", 200),
        )

    def check(self, arguments: JsonObject) -> None:
        """Refuse nothing: what the schema allows is the server's to judge."""

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return none: where the server goes is not seen from here."""
        return ()

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the call; on a connection that is found to have ended, a call that may be repeated is made again."""
        from stepwell.tools.upstream.calling import LinkLost, Rejected, call_tool  # noqa: PLC0415  loads the SDK

        again = 1
        while True:
            link = await self._links.get()
            try:
                async with self._bounded(link, context) as asking:
                    result = await call_tool(link, self._listed.name, arguments, dict(context.meta) or None, asking)
                await self._check(spec, result, context)
                return await read_result(spec.name, result, context)
            except Rejected as error:
                # Nothing was done: the session is over, or headers were asked for that only a listing tells of.
                if not again:
                    raise self._broken(spec, str(error)) from error
                if error.relist:
                    await self._links.relist()
            except LinkLost as error:
                if error.sent and not spec.repeatable:
                    raise OutcomeUnknown(clean(f"{spec.name}: {error}")) from error
                if not again:
                    raise self._broken(spec, str(error)) from error
            except TimeoutError as error:
                message = f"{spec.name}: no answer within {self._server.timeout_s:g} s"
                if not spec.repeatable:
                    raise OutcomeUnknown(message) from error
                raise failure(spec.name, message, code="timeout", retryable=True) from error
            again -= 1

    async def _check(self, spec: ToolSpec, result: JsonObject, context: CallContext) -> None:
        """Refuse a result that is not as the tool declares, also by the newest listing."""
        if self._listed.output is None or result.get("isError"):
            return
        from stepwell.tools.upstream.output import PARTLY, OutputCheck  # noqa: PLC0415  a twentieth of a server's start

        self._output = self._output or OutputCheck(self._listed.output)
        found = await self._output.check(result)
        if not found.misfits:
            if not found.whole:
                log.warning("%s: %s", spec.name, PARTLY)
                if context.tell is not None:
                    context.tell(None, None, PARTLY)
            return
        newest = await self._links.newest(self._listed.name)
        if newest is None or newest.output is None:
            return
        if newest.output != self._listed.output:
            self._output = OutputCheck(newest.output)
        if (found := await self._output.check(result)).misfits:
            said = f"{spec.name}: the call was made, and its result is not what the tool declares: {found.misfits}"
            raise failure(spec.name, said, code="bad_answer")

    @asynccontextmanager
    async def _bounded(self, link: "Link", context: CallContext) -> AsyncGenerator["Asking", None]:
        asking = Asking(context, self._server)
        link.askers.append(asking.ask)
        try:
            async with asking.timeout:
                yield asking
        finally:
            link.askers.remove(asking.ask)

    def _broken(self, spec: ToolSpec, said: str) -> ToolFailure:
        return failure(spec.name, f"{spec.name}: {said}", code="connection_failed", retryable=True)


class Asking:
    """The time of one call, which stands still while a person is asked."""

    def __init__(self, context: CallContext, server: McpServer) -> None:
        self._context = context
        self._left_s = server.timeout_s
        self._prompt = f"The MCP server {server.name} asks"
        self.timeout = asyncio.timeout(server.timeout_s)
        self._asked = 0

    async def told(self, progress: float, total: float | None, message: str | None) -> None:
        """Pass on what the server says of its progress; its time does not stand still for that."""
        if self._context.tell is not None:
            self._context.tell(progress, total, clean(message or "", 300))

    async def ask(self, inquiry: Inquiry) -> Reply:
        """Pass a question on; without somebody to pass it to it is cancelled."""
        if self._context.ask is None:
            return Reply("cancel", {})
        now = asyncio.get_running_loop().time
        if not self._asked:
            self._left_s = (self.timeout.when() or now()) - now()
            self.timeout.reschedule(None)
        self._asked += 1
        try:
            return await self._context.ask(Inquiry(f"{self._prompt}: {inquiry.prompt}", inquiry.schema))
        finally:
            self._asked -= 1
            if not self._asked and not self.timeout.expired():
                self.timeout.reschedule(now() + self._left_s)


def _returns(output: JsonObject | None) -> str:
    if output is None:
        return "Any"
    properties: JsonObject = output.get("properties") or {}
    if list(properties) == ["result"]:
        return _type(properties["result"])
    fields = ", ".join(f"{name}: {_type(schema)}" for name, schema in properties.items())
    return f"{{{fields}}}" if fields and len(fields) < MAX_RETURNS else "dict"


def _type(schema: Json) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return _TYPES.get(kind, "Any") if isinstance(kind, str) else "Any"
