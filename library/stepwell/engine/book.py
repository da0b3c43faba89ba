"""The journal of one live run, as its holder writes it."""

import hashlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace

import msgspec

from stepwell.engine.admission import attempt_of, check_key, check_readings, check_step, is_decision, without_attempts
from stepwell.engine.batch import Write
from stepwell.engine.outcome import NULL, Answer
from stepwell.engine.recorder import Lease, Recorder
from stepwell.engine.replaying import CUT, read_cut, replay_chunks
from stepwell.engine.room import ENTRY_BYTES, Room, entry_size
from stepwell.errors import ProtocolViolation
from stepwell.model import JsonObject
from stepwell.ports.frames import Call, Log, Note, Readings, Recorded, Step
from stepwell.sdk.scope import depth_of
from stepwell.store import journal, runs, timeline
from stepwell.store.journal import Entry
from stepwell.store.timeline import NewEvent, NewLog

Load = Callable[[int], Awaitable[bytes | None]]
"""Reads a value from the store, by its place in the journal."""

QUEUED_BYTES = 8 * 1024 * 1024  # that wait to be written for one run, while its guest is still read
UNUSABLE_ANSWERS = ("bad_answer", "too_large", "binary")
"""Codes of tools whose answer came and was no good."""
KEPT_BYTES = 4096  # larger values are not kept in memory beside the store


class Book:
    """Entries by key, and the order in which they are written."""

    def __init__(self, recorder: Recorder, lease: Lease, entries: Iterable[Entry], room: Room, load: Load) -> None:
        self.entries = {entry.key: entry for entry in entries}
        self.under_way: set[str] = set()
        """Keys of calls that have no outcome yet, and of steps that wait to be told that they are on disk."""
        self._progressed = False
        self._effects = {
            name: entry for entry in self.entries.values() if (name := _effect_name(entry.key, entry.label)) is not None
        }
        self._readings: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            if entry.kind == journal.READINGS:
                self._add_readings(entry)
        self._cut = {read_cut(key): entry for key, entry in self.entries.items() if key.startswith(CUT)}
        self._recorder = recorder
        self._lease = lease
        self._room = room
        self._load = load
        for entry in self.entries.values():
            room.add(1, entry_size(entry))
        self._seq = max((entry.seq for entry in self.entries.values()), default=0)
        self._taken = {entry.key for entry in self.entries.values() if entry.delivery is not None}
        self._delivered = max((entry.delivery or 0 for entry in self.entries.values()), default=0)

    def write(self, write: Write) -> None:
        """Queue any other write of the run."""
        self._recorder.add(self._lease, write)

    async def drained(self) -> None:
        """Return when not much waits to be written: a guest that is faster than the disk is slowed."""
        if self._recorder.queued(self._lease) > QUEUED_BYTES:
            await self._recorder.durable(self._lease)

    async def durable(self) -> None:
        """Return when everything before is on disk."""
        await self._recorder.durable(self._lease)

    async def settled(self) -> None:
        """Return when everything before that a call can depend on is on disk; the timeline may still be on its way."""
        await self._recorder.durable(self._lease, binding=True)

    def event(self, kind: str, data: JsonObject, at: float | None = None) -> None:
        """Add to the timeline."""
        event = NewEvent(time.time() if at is None else at, kind, msgspec.json.encode(data).decode())
        self._recorder.batch(self._lease).event(event)

    def log(self, line: Log) -> None:
        """Add a line of output."""
        self._recorder.batch(self._lease).log(NewLog(line.at, line.level, line.text, line.step))

    def note(self, note: Note) -> None:
        """Add what the workflow tells of its progress to the timeline."""
        if note.type == "progress":
            self.event("progress", {"done": note.done, "total": note.total, "message": note.message[:500]})
        elif note.type == "step.started":
            self.event(note.type, {"step": note.name, "attempt": note.attempt} | _deep(note.depth))
        else:
            passes: JsonObject = {"iteration": note.attempt} if note.type == "node.iteration" else {}
            self.event(note.type, {"node": note.name, "kind": note.message[:50], "depth": note.depth} | passes)

    def note_dropped(self, lines: int) -> None:
        """Say how many lines of output were dropped."""
        if lines:
            said = f"{lines} more lines were dropped: the process had printed as much as output_bytes allows"
            self.log(Log("warning", said, time.time()))

    def note_attempt(self, level: str, restored: tuple[str, ...]) -> None:
        """Note how the run is isolated now, and which steps it restores."""
        run_id = self._lease.run_id
        self._recorder.batch(self._lease).add(lambda c: runs.note_attempt(c, run_id, level, restored), binding=False)

    def trim(self) -> None:
        """Forget old output and progress, of which each process of a run may add as much as it is allowed to."""
        run_id = self._lease.run_id
        self._recorder.batch(self._lease).add(lambda c: timeline.trim(c, run_id), binding=False)

    def open(self, call: Call, digest: str, args: bytes | None = None) -> Entry:
        """Note that a call was made and is not answered yet; its place in the journal is taken."""
        entry = self._next(call.key, call.kind, call.name, digest, "open", call.step, args=args)
        self._put(entry)
        return entry

    def retract(self, call: Call) -> None:
        """Take back what `open` noted: the call has had no effect, and is made anew."""
        entry = self.entries.pop(call.key, None)
        if entry is None:
            return
        self._room.add(-1, -entry_size(replace(entry, args=bytes(call.args))))
        if (name := _effect_name(entry.key, entry.label)) is not None and self._effects.get(name) is entry:
            del self._effects[name]
        self.write(lambda c: journal.drop_entries(c, self._lease.run_id, [entry.seq]))

    def draft(self, call: Call, digest: str) -> Entry:
        """Return the entry of a call that is written with its outcome only."""
        return self._next(call.key, call.kind, call.name, digest, "open", call.step)

    def host_entry(self, key: str, kind: str, name: str, digest: str, step: str) -> Entry:
        """Return an entry that no call of the guest has, to be written with its outcome."""
        return self._next(key, kind, name, digest, "open", step)

    def settle(self, entry: Entry, answer: Answer) -> None:
        """Note the outcome of a call."""
        status = "ok" if answer.failure is None else "error"
        self._room.add(0, len(answer.value or b"") + len(answer.error or ""))
        self._put(entry.settled(status, value=answer.value, error=answer.error, at=time.time()))

    def drop(self, call: Call) -> None:
        """Note that nobody waits for a call any more."""
        if call.key not in self.entries:  # which would count: a guest may make and drop calls without end
            self._room.take_step(ENTRY_BYTES)
        self.event("call.dropped", {"call": call.name, "key": call.key})

    async def transact(self, call: Call, digest: str, act: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do something to the store and note its outcome, both in one transaction; return when it is on disk."""
        draft, run_id = self.draft(call, digest), self._lease.run_id
        done: list[tuple[Entry, Answer]] = []

        def write(connection: sqlite3.Connection) -> None:
            answer = act(connection)
            status = "ok" if answer.failure is None else "error"
            entry = draft.settled(status, value=answer.value, error=answer.error, at=time.time())
            journal.put_entries(connection, run_id, [entry])
            done.append((entry, answer))

        self._progress()
        self.write(write)
        await self.durable()
        entry, answer = done[0]
        self._room.add(0, len(answer.value or b"") + len(answer.error or ""))
        self.entries[entry.key] = _light(entry)
        return answer

    def idempotency_key(self, call: Call, digest: str) -> str:
        """Return what stands for the run, the call and its arguments, over all attempts of its step."""
        # Where somebody decided that a call on a part that was cut off is made again, it is another call.
        cuts = str(self.cuts(call.key) or "")
        named = "\0".join((self._lease.run_id, without_attempts(call.key), call.kind, call.name, digest, cuts))
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    async def value(self, entry: Entry) -> bytes | None:
        """Return the value of an entry that has an outcome; a large one comes from the store."""
        if entry.value is not None or entry.status != "ok":
            return entry.value
        await self.settled()
        return await self._load(entry.seq)

    def earlier_effect(self, key: str, label: str) -> Entry | None:
        """Return the same call of an earlier attempt of its step, if it had its effect or nobody knows."""
        name = _effect_name(key, label)
        entry = None if name is None else self._effects.get(name)
        if entry is None or entry.key == key:
            return None
        return entry if entry.status in ("ok", "open", "in_doubt") or was_in_doubt(entry) or was_made(entry) else None

    def cuts(self, key: str) -> int:
        """Return how often the call at this place was taken out of what is replayed."""
        place = without_attempts(key)
        return len({cut for cut, old in self._cut if without_attempts(old) == place})

    async def take_cut(self, label: str, adopted: Container[int], *statuses: str) -> Entry | None:
        """Return, with its value, and remove the oldest equal call of a part that was cut off.

        `adopted` are the numbers of the cuts whose effects shall be used again.
        """
        for place, entry in self._cut.items():
            if place[0] in adopted and entry.label == label and entry.status in statuses:
                break
        else:
            return None
        del self._cut[place]
        entry = replace(entry, value=await self.value(entry))
        del self.entries[entry.key]
        self.write(lambda c: journal.drop_entries(c, self._lease.run_id, [entry.seq]))
        return entry

    def doubt(self, entry: Entry) -> None:
        """Note that nobody knows whether the call had its effect."""
        self._put(entry.settled("in_doubt", value=None, error=None, at=time.time()))

    def step(self, frame: Step) -> None:
        """Note a finished attempt of a step.

        Raises:
            ProtocolViolation: its key is taken.
        """
        check_step(frame)
        self._check_new(frame.key)
        self._room.take_step(ENTRY_BYTES + len(frame.key) + len(frame.name) + len(bytes(frame.value)))
        status = "ok" if frame.status == "ok" else "error" if frame.final else "retry"
        error = None if frame.error is None else msgspec.json.encode(frame.error).decode()
        self._seq += 1
        entry = Entry(
            self._seq, frame.key, "step", frame.name, frame.digest, status, attempt=frame.attempt,
            value=None if frame.error is not None else bytes(frame.value) or NULL,
            error=error, delivery=frame.mark or None, opened_at=frame.started, finished_at=frame.finished,
            undo=frame.undo and status == "ok",
        )  # fmt: skip
        if frame.mark:
            self._count(frame.mark, frame.key)
        self._put(entry)
        self._forget_readings(f"{frame.key}@{frame.attempt}/" if frame.final else f"{frame.key}/")
        kind = "step.completed" if frame.status == "ok" else "step.failed"
        data: JsonObject = {"step": frame.name, "attempt": frame.attempt, "seconds": frame.finished - frame.started}
        data |= _deep(depth_of(frame.key))
        if frame.error is not None:
            data |= {"error": f"{frame.error.type}: {frame.error.message}"[:500], "final": frame.final}
        self.event(kind, data, frame.finished)

    def fired(self, key: str, at: float, n: int) -> None:
        """Note that a deadline of the body has passed.

        Raises:
            ProtocolViolation: its key is taken, or the number is not the next.
        """
        check_key(key)
        self._check_new(key)
        self._room.take_step(ENTRY_BYTES + len(key))
        self._count(n, key)
        self._seq += 1
        self._put(
            Entry(self._seq, key, "fired", "deadline", "", "ok", value=NULL, delivery=n, opened_at=at, finished_at=at)
        )

    def readings(self, frame: Readings) -> None:
        """Keep what an attempt of a step has read of the real world until the attempt is over.

        Raises:
            ProtocolViolation: its key is taken or belongs to no attempt, or it holds no readings.
        """
        check_readings(frame)
        self._check_new(frame.key)
        now = time.time()
        value = msgspec.json.encode({"seed": frame.seed, "times": frame.times})
        self._room.take_step(ENTRY_BYTES + len(frame.key) + len(value))
        self._seq += 1
        entry = Entry(self._seq, frame.key, journal.READINGS, "", "", "ok", value=value, opened_at=now, finished_at=now)
        self._add_readings(entry)
        self._put(entry)

    def _forget_readings(self, path: str) -> None:
        over = self._readings.pop(path, None)
        if over is None:
            return
        for entry in over:
            del self.entries[entry.key]
            self._room.add(-1, -entry_size(entry))
        self.write(lambda c: journal.drop_entries(c, self._lease.run_id, [entry.seq for entry in over]))

    def _add_readings(self, entry: Entry) -> None:
        self._readings.setdefault(attempt_of(entry.key), []).append(entry)

    def mark(self, n: int, key: str) -> None:
        """Note the place of an outcome in the order of deliveries.

        Raises:
            ProtocolViolation: there is no such outcome, it was taken before, or the number is not the next.
        """
        entry = self.entries.get(key)
        if entry is None or entry.status not in ("ok", "error"):
            raise ProtocolViolation(f"the guest took the outcome of {key!r}, which has none")
        self._count(n, key)
        self._recorder.batch(self._lease).delivery(entry.seq, n)

    def replay(self) -> list[list[Recorded]]:
        """Return what the guest needs to replay; large values are let go of."""
        chunks = replay_chunks(self.entries.values())
        self.entries = {key: _light(entry) for key, entry in self.entries.items()}
        self._effects = {name: self.entries[entry.key] for name, entry in self._effects.items()}
        self._cut = {place: self.entries[entry.key] for place, entry in self._cut.items()}
        return chunks

    def _check_new(self, key: str) -> None:
        if key in self.entries or key in self.under_way:
            raise ProtocolViolation(f"the guest recorded {key[:200]!r} twice")

    def _count(self, n: int, key: str) -> None:
        if n != self._delivered + 1 or key in self._taken:
            raise ProtocolViolation(f"the guest took {key[:200]!r} as delivery {n} after {self._delivered}")
        self._delivered = n
        self._taken.add(key)

    def _next(
        self, key: str, kind: str, name: str, digest: str, status: str, step: str, args: bytes | None = None
    ) -> Entry:
        if not is_decision(key):
            self._room.take_call(ENTRY_BYTES + len(key) + len(name) + len(args or b""))
        self._seq += 1
        return Entry(self._seq, key, kind, name, digest, status, step, args=args, opened_at=time.time())

    def _progress(self) -> None:
        if not self._progressed:
            self._progressed = True
            self.write(lambda c: runs.clear_crashes(c, self._lease.run_id))

    def _put(self, entry: Entry) -> None:
        self._progress()
        kept = self.entries[entry.key] = _light(entry)
        if entry.kind == "tool" and (name := _effect_name(entry.key, entry.label)) is not None:
            self._effects[name] = kept
        self._recorder.batch(self._lease).entry(entry)


def _deep(depth: int) -> JsonObject:
    return {"depth": depth} if depth else {}


def was_in_doubt(entry: Entry) -> bool:
    """Whether the call was given up without knowing if it had its effect."""
    return _code(entry) == "in_doubt"


def was_made(entry: Entry) -> bool:
    """Whether it is a tool's call that had its effect although it has failed: only its answer could not be used."""
    return entry.kind == "tool" and _code(entry) in UNUSABLE_ANSWERS


def _code(entry: Entry) -> str:
    return "" if entry.error is None else str(msgspec.json.decode(entry.error).get("code"))


def _effect_name(key: str, label: str) -> str | None:
    return f"{without_attempts(key)} {label}" if "@" in key and label.startswith("tool:") else None


def _light(entry: Entry) -> Entry:
    """Return the entry without arguments and without a large value, which the store has."""
    if len(entry.value or b"") <= KEPT_BYTES and entry.args is None:
        return entry
    return replace(entry, args=None, value=entry.value if len(entry.value or b"") <= KEPT_BYTES else None)
