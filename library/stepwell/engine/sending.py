"""One call of a tool on its way: its turn, its intent on disk, the answer, or the doubt what became of it."""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace

from stepwell.engine.doubting import until_settled
from stepwell.engine.inquiring import make_asker
from stepwell.engine.keeping import Saver
from stepwell.engine.outcome import Answer, refuse, tool_answered, tool_failed
from stepwell.engine.services import Services
from stepwell.engine.settling import settle
from stepwell.engine.telling import telling
from stepwell.engine.waiting import Waiting
from stepwell.errors import HostNeeded, ToolFailure
from stepwell.model import JsonObject
from stepwell.model.aside import Aside, size_of_value
from stepwell.ports import CallContext, ToolSpec
from stepwell.ports.frames import Call
from stepwell.store.journal import Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A call that may be made."""

    call: Call
    digest: str
    spec: ToolSpec
    arguments: JsonObject
    hosts: tuple[str, ...]
    """Hosts that a person has allowed for it."""


class Sender:
    """Makes the calls of one live run."""

    def __init__(self, services: Services, waits: Waiting) -> None:
        self._services = services
        self._waits = waits
        self._book = waits.book
        self._aside = Aside()
        self._saver = Saver(services.database, waits.book, waits.run, services.artifacts)
        self.flying: dict[str, asyncio.Future[None]] = {}
        """Calls that have been sent and have no outcome yet, by key."""

    async def send(self, request: Request, entry: Entry | None, *, doubtful: bool) -> Answer:
        """Make the call and settle it; a `doubtful` one may have been made, so somebody is asked first.

        Raises:
            HostNeeded: it was redirected to a host that it may not go to, and had no effect.
        """
        async with AsyncExitStack() as turn:
            if not doubtful:  # before its intent: one that dies while it waits was not sent
                await self._take_turn(request.spec, turn)
            call, digest, spec = request.call, request.digest, request.spec
            if entry is None and spec.repeatable:
                entry = self._book.draft(call, digest)
            elif entry is None:
                entry = self._book.open(call, digest, bytes(call.args))
            context = self._context(request)
            while True:
                if doubtful:
                    await turn.aclose()  # somebody is asked, which may take days
                    decided = await until_settled(self._waits, call, entry, digest, spec, request.arguments)
                    if decided is not None:
                        return decided
                    await self._take_turn(spec, turn)
                began = time.monotonic()
                answer = await self._ask(request, context)
                if answer is not None:
                    taken = {"seconds": round(time.monotonic() - began, 6), "bytes": len(answer.value or b"")}
                    return settle(self._book, call, entry, answer, taken)
                self._book.doubt(entry)
                doubtful = True

    async def _ask(self, request: Request, context: CallContext) -> Answer | None:
        """Return the tool's answer; None if it gave none, and nobody knows whether the call had its effect."""
        call, spec = request.call, request.spec
        self._book.event("call.started", {"call": call.name, "key": call.key})
        await self._book.settled()
        try:
            with self._in_flight(call.key):
                with telling(self._book, call) as tell:
                    given = await self._services.tools.call(spec, request.arguments, replace(context, tell=tell))
                return await self._aside.run(size_of_value(given), tool_answered, call.name, given)
        except HostNeeded:
            raise
        except ToolFailure as error:
            return tool_failed(error)
        except Exception as error:  # noqa: BLE001  foreign code
            log.warning("run %s: %s ended without an answer: %r", self._waits.run.id, call.name, error)
            if not spec.repeatable:
                return None
            message = f"{call.name} gave no answer: {type(error).__name__}"
            return refuse("ToolError", message, "no_answer", tool=call.name, retryable=True)

    def _context(self, request: Request) -> CallContext:
        call, run = request.call, self._waits.run
        return CallContext(
            run.id, run.workflow, self._book.idempotency_key(call, request.digest), hosts=request.hosts,
            save=self._saver.of(call), ask=make_asker(self._waits, call, request.digest),
        )  # fmt: skip

    async def _take_turn(self, spec: ToolSpec, turn: AsyncExitStack) -> None:
        if limits := self._services.tools.limits(spec.name):
            await turn.enter_async_context(self._services.throttle.turn(limits))

    @contextmanager
    def _in_flight(self, key: str) -> Generator[None, None, None]:
        flying: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flying[key] = flying
        try:
            yield
        finally:
            # Told a turn later, when the outcome is in the book.
            del self.flying[key]
            asyncio.get_running_loop().call_soon(flying.set_result, None)
