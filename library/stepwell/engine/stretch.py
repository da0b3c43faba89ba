"""One process of a run: it is given the run's journal, is served, and is closed."""

from stepwell.engine.beginning_anew import begin_anew
from stepwell.engine.book import Book
from stepwell.engine.calls import Calls
from stepwell.engine.conversation import Conversation
from stepwell.engine.limiting import FREE_CPU_S, RunLimits
from stepwell.engine.recorder import Lease
from stepwell.engine.replaying import begin, open_guest
from stepwell.engine.room import Room, doubled
from stepwell.engine.services import Services
from stepwell.engine.verdict import End
from stepwell.engine.waiting import Waiting
from stepwell.model import JsonObject, Version
from stepwell.ports import Caller, GuestProcess
from stepwell.ports.frames import Mode
from stepwell.store import journal, waits
from stepwell.store.runs import RunRow

MAX_NAMED = 100  # restored steps in an event


class Stretch:
    """Works on a run as long as one guest lives."""

    def __init__(
        self, services: Services, run: RunRow, lease: Lease, version: Version, limits: RunLimits, mode: Mode = "run"
    ) -> None:
        self._services = services
        self._run = run
        self._lease = lease
        self._version = version
        self._limits = limits
        self._mode: Mode = mode
        self.work_s = 0.0
        self.cpu_s = 0.0
        """What it has used that counts."""
        self.not_undone = 0
        """How many steps could not be undone, where it undoes them."""

    async def work(self) -> End:
        """Return how the run ends or pauses.

        Raises:
            RunError: it fails by what the host saw of it.
            Fenced: another process holds the run.
        """
        services, run, version = self._services, self._run, self._version
        if self._mode == "run":  # what is undone must be known
            await begin_anew(services.recorder, self._lease, run, version.options)
        waiting, restored = await self._load()
        book, calls = waiting.book, Calls(services, run, version, waiting)
        conversation = Conversation(services, run, self._lease, self._limits, calls, waiting, self._mode)
        guest = await open_guest(services, self._limits.for_process(run.cpu_s), version)
        services.memory.watch(run.id, guest, self._limits.values.memory_bytes)
        try:
            if self._mode == "run":
                self._note_start(book, guest, restored)
            await self._begin(guest, book)
            with services.orders.watch(run.id) as orders:
                return await conversation.serve(guest, orders)
        finally:
            closed = await guest.close()
            self.work_s, self.cpu_s = conversation.clock.spent_s, max(0.0, closed.cpu_s - FREE_CPU_S)
            self.not_undone = conversation.not_undone
            services.memory.learn(run.version, closed.memory_bytes)
            book.note_dropped(closed.dropped_lines)

    async def _load(self) -> tuple[Waiting, tuple[str, ...]]:
        """Return the journal with the waits of the run, and the names of the steps that it has."""
        services, run, database = self._services, self._run, self._services.database
        entries, known = await database.read(lambda c: (journal.list_entries(c, run.id), waits.load_waits(c, run.id)))
        room = Room(self._limits.values if self._mode == "run" else doubled(self._limits.values))
        book = Book(
            services.recorder, self._lease, entries, room,
            lambda seq: database.read(lambda c: journal.read_value(c, run.id, seq)),
        )  # fmt: skip
        person = services.tools.demands_person(Caller(run.workflow, self._version.hash))
        restored = tuple(dict.fromkeys(e.name for e in entries if e.kind == "step" and e.status == "ok"))
        return Waiting(run, database, book, *known, person), restored

    async def _begin(self, guest: GuestProcess, book: Book) -> None:
        services, run, version = self._services, self._run, self._version
        # What the operator asks of all runs, a module cannot lower.
        careful = "step" in (services.durability, version.options.get("durability"))
        await begin(
            guest, run, version, book.replay(),
            attempt=run.attempts, mode=self._mode, durability="step" if careful else "group",
            threads=self._limits.values.threads, code=services.codes.find(version.hash),
            tells_code=services.codes.wants(version, self._limits.values),
        )  # fmt: skip

    def _note_start(self, book: Book, guest: GuestProcess, restored: tuple[str, ...]) -> None:
        level, first = guest.level, self._run.attempts == 1
        book.note_attempt(level, restored)
        data: JsonObject = {"attempt": self._run.attempts, "sandbox": level, "worker": self._services.worker}
        if not first:  # an event at every wake-up of a long run: it must not hold all its names
            data |= {"restored": list(restored[-MAX_NAMED:]), "steps": len(restored)}
            book.trim()
        book.event("run.started" if first else "run.resumed", data)
