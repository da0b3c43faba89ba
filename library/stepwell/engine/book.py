"""The journal of one live run, as its holder writes it."""

import re
import sqlite3
import time
from collections.abc import Callable, Container, Iterable

import msgspec
from msgspec import Raw

from stepwell.engine.batch import Write
from stepwell.engine.outcome import NULL, Answer
from stepwell.engine.recorder import Lease, Recorder
from stepwell.errors import ProtocolViolation
from stepwell.model import JsonObject
from stepwell.ports.frames import Call, Failure, Log, Readings, Recorded, Step
from stepwell.store import journal, runs
from stepwell.store.journal import Entry
from stepwell.store.timeline import NewEvent, NewLog

ATTEMPT = re.compile(r"@\d+/")
MAX_ATTEMPT = 2**31
MAX_KEY = 2000  # characters
MAX_NAME = 200  # characters
MAX_TIME = 1e11  # unix seconds
MAX_READINGS = 1000  # of one frame
READINGS_NAME = re.compile(r"seed|readings\d+")
SEED = re.compile(r"[0-9a-f]{64}")
CUT = "!cut"  # before the keys of entries that were taken out of what is replayed: no guest makes such a key
HOST_KEYS = ("policy", "doubt")  # behind the last "!" of a key: decisions that a guest must not be able to record
REPLAY_BYTES = 512 * 1024  # of values in one chunk of the replay


class Book:
    """Entries by key, and the order in which they are written."""

    def __init__(self, recorder: Recorder, lease: Lease, entries: Iterable[Entry]) -> None:
        self.entries = {entry.key: entry for entry in entries}
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
        self._seq = max((entry.seq for entry in self.entries.values()), default=0)
        self._delivered = max((entry.delivery or 0 for entry in self.entries.values()), default=0)

    def write(self, write: Write) -> None:
        """Queue any other write of the run."""
        self._recorder.add(self._lease, write)

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
        self._recorder.batch(self._lease).log(NewLog(line.at, line.level, line.text))

    def note_attempt(self, level: str, restored: tuple[str, ...]) -> None:
        """Note how the run is isolated now, and which steps it restores."""
        run_id = self._lease.run_id
        self._recorder.batch(self._lease).add(lambda c: runs.note_attempt(c, run_id, level, restored), binding=False)

    def open(self, call: Call, digest: str, args: bytes | None = None) -> Entry:
        """Note that a call was made and is not answered yet; its place in the journal is taken."""
        entry = self._next(call.key, call.kind, call.name, digest, "open", call.step, args=args)
        self._put(entry)
        return entry

    def draft(self, call: Call, digest: str) -> Entry:
        """Return the entry of a call that is written with its outcome only."""
        return self._next(call.key, call.kind, call.name, digest, "open", call.step)

    def settle(self, entry: Entry, answer: Answer) -> None:
        """Note the outcome of a call."""
        status = "ok" if answer.failure is None else "error"
        self._put(entry.settled(status, value=answer.value, error=answer.error, at=time.time()))

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
        self.entries[entry.key] = entry
        return answer

    def earlier_effect(self, key: str, label: str) -> Entry | None:
        """Return the same call of an earlier attempt of its step, if it had its effect or nobody knows."""
        name = _effect_name(key, label)
        entry = None if name is None else self._effects.get(name)
        if entry is None or entry.key == key:
            return None
        return entry if entry.status in ("ok", "open", "in_doubt") or was_in_doubt(entry) else None

    def cuts(self, key: str) -> int:
        """Return how often the call at this place was taken out of what is replayed."""
        place = without_attempts(key)
        return len({cut for cut, old in self._cut if without_attempts(old) == place})

    def take_cut(self, label: str, adopted: Container[int], *statuses: str) -> Entry | None:
        """Return and remove the oldest equal call of a part that was cut off.

        `adopted` are the numbers of the cuts whose effects shall be used again.
        """
        for place, entry in self._cut.items():
            if place[0] in adopted and entry.label == label and entry.status in statuses:
                break
        else:
            return None
        del self._cut[place]
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
        check_key(frame.key)
        if frame.key in self.entries:
            raise ProtocolViolation(f"the guest recorded {frame.key!r} twice")
        _check_step(frame)
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
            self._count(frame.mark)
        self._put(entry)
        self._forget_readings(f"{frame.key}@{frame.attempt}/" if frame.final else f"{frame.key}/")
        kind = "step.completed" if frame.status == "ok" else "step.failed"
        data: JsonObject = {"step": frame.name, "attempt": frame.attempt, "seconds": frame.finished - frame.started}
        if frame.error is not None:
            data |= {"error": f"{frame.error.type}: {frame.error.message}"[:500], "final": frame.final}
        self.event(kind, data, frame.finished)

    def fired(self, key: str, at: float, n: int) -> None:
        """Note that a deadline of the body has passed.

        Raises:
            ProtocolViolation: its key is taken, or the number is not the next.
        """
        check_key(key)
        if key in self.entries:
            raise ProtocolViolation(f"the guest recorded {key!r} twice")
        self._count(n)
        self._seq += 1
        self._put(
            Entry(self._seq, key, "fired", "deadline", "", "ok", value=NULL, delivery=n, opened_at=at, finished_at=at)
        )

    def readings(self, frame: Readings) -> None:
        """Keep what an attempt of a step has read of the real world until the attempt is over.

        Raises:
            ProtocolViolation: its key is taken or belongs to no attempt, or it holds no readings.
        """
        check_key(frame.key)
        if frame.key in self.entries or not _attempt_of(frame.key):
            raise ProtocolViolation(f"the guest sent readings for {frame.key[:200]!r}")
        seeded = frame.key.endswith("!seed")
        limits = all(0 <= reading < MAX_TIME * 1e6 for reading in frame.times) and len(frame.times) <= MAX_READINGS
        if not limits or seeded != (SEED.fullmatch(frame.seed) is not None) or seeded == bool(frame.times):
            raise ProtocolViolation("the guest sent readings that no clock shows")
        now = time.time()
        self._seq += 1
        value = msgspec.json.encode({"seed": frame.seed, "times": frame.times})
        entry = Entry(self._seq, frame.key, journal.READINGS, "", "", "ok", value=value, opened_at=now, finished_at=now)
        self._add_readings(entry)
        self._put(entry)

    def _forget_readings(self, path: str) -> None:
        over = self._readings.pop(path, None)
        if over is None:
            return
        for entry in over:
            del self.entries[entry.key]
        self.write(lambda c: journal.drop_entries(c, self._lease.run_id, [entry.seq for entry in over]))

    def _add_readings(self, entry: Entry) -> None:
        self._readings.setdefault(_attempt_of(entry.key), []).append(entry)

    def mark(self, n: int, key: str) -> None:
        """Note the place of an outcome in the order of deliveries.

        Raises:
            ProtocolViolation: there is no such outcome, or the number is not the next.
        """
        entry = self.entries.get(key)
        if entry is None or entry.status not in ("ok", "error"):
            raise ProtocolViolation(f"the guest took the outcome of {key!r}, which has none")
        self._count(n)
        self._recorder.batch(self._lease).delivery(entry.seq, n)

    def replay(self) -> list[list[Recorded]]:
        """Return what the guest needs to replay."""
        return replay_chunks(self.entries.values())

    def _count(self, n: int) -> None:
        if n != self._delivered + 1:
            raise ProtocolViolation(f"the guest took delivery {n} after {self._delivered}")
        self._delivered = n

    def _next(
        self, key: str, kind: str, name: str, digest: str, status: str, step: str, args: bytes | None = None
    ) -> Entry:
        self._seq += 1
        return Entry(self._seq, key, kind, name, digest, status, step, args=args, opened_at=time.time())

    def _progress(self) -> None:
        if not self._progressed:
            self._progressed = True
            self.write(lambda c: runs.clear_crashes(c, self._lease.run_id))

    def _put(self, entry: Entry) -> None:
        self._progress()
        self.entries[entry.key] = entry
        if entry.kind == "tool" and (name := _effect_name(entry.key, entry.label)) is not None:
            self._effects[name] = entry
        self._recorder.batch(self._lease).entry(entry)


def read_cut(key: str) -> tuple[int, str]:
    """Return the number of the cut and the key before it, of the key of an entry that was cut off."""
    cut, _, old = key.removeprefix(CUT).partition("/")
    return int(cut), old


def replay_chunks(entries: Iterable[Entry]) -> list[list[Recorded]]:
    """Return what a guest needs to replay, in chunks; at least one."""
    chunks: list[list[Recorded]] = [[]]
    size = 0
    for entry in entries:
        if entry.key.startswith(CUT):
            continue
        if size > REPLAY_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(_recorded(entry))
        size += len(entry.value or b"") + len(entry.key) + 100
    return chunks


def check_key(key: str) -> None:
    """Raise ProtocolViolation if a guest uses a key that no honest one has, or that only the host gives out."""
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise ProtocolViolation("the guest used a key that is too long or not printable")
    if key.rpartition("!")[2] in HOST_KEYS or key.startswith("!"):
        raise ProtocolViolation(f"the guest used the key {key[:200]!r}, which is the host's")


def check_name(name: str) -> None:
    """Raise ProtocolViolation if a step or call has a name that no honest guest gives it."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ProtocolViolation("the guest used a name that is too long or not printable")


def _attempt_of(key: str) -> str:
    """Return the path of the innermost attempt whose readings have that key; empty if it is no such key."""
    path, _, name = key.rpartition("!")
    attempt = ATTEMPT.match(path, max(0, path.rfind("@")))
    known = attempt is not None and path.endswith("/") and READINGS_NAME.fullmatch(name) is not None
    return path[: attempt.end()] if attempt is not None and known else ""


def read_arguments(call: Call) -> JsonObject:
    """Return `{"args": [...], "kwargs": {...}}` of a call, either of which may be missing.

    Raises:
        ProtocolViolation: key, name or arguments are none that an honest guest sends.
    """
    check_key(call.key)
    check_name(call.name)
    decoded = msgspec.json.decode(call.args)
    if not isinstance(decoded, dict) or not decoded.keys() <= {"args", "kwargs"}:
        raise ProtocolViolation("the guest made a call without an arguments object")
    if not isinstance(decoded.get("args", []), list) or not isinstance(decoded.get("kwargs", {}), dict):
        raise ProtocolViolation("the guest made a call with malformed arguments")
    return decoded


def _check_step(frame: Step) -> None:
    check_name(frame.name)
    failed = frame.status == "error"
    times = all(0 <= at < MAX_TIME for at in (frame.started, frame.finished))
    if not 0 < frame.attempt < MAX_ATTEMPT or not times or failed != (frame.error is not None):
        raise ProtocolViolation("the guest recorded a step with an impossible attempt, time or outcome")
    if not frame.final and not failed:
        raise ProtocolViolation("the guest recorded a step that goes on after it succeeded")


def was_in_doubt(entry: Entry) -> bool:
    """Whether the call was given up without knowing if it had its effect."""
    return entry.error is not None and msgspec.json.decode(entry.error).get("code") == "in_doubt"


def without_attempts(key: str) -> str:
    """Return a key that is the same in every attempt of the steps around the call."""
    return ATTEMPT.sub("@/", key)


def _effect_name(key: str, label: str) -> str | None:
    return f"{without_attempts(key)} {label}" if "@" in key and label.startswith("tool:") else None


def _recorded(entry: Entry) -> Recorded:
    known = entry.status in ("ok", "error", "retry")
    return Recorded(
        entry.key,
        entry.label,
        entry.status if known else "open",  # pyright: ignore[reportArgumentType]  checked by the table
        entry.finished_at or entry.opened_at or 0.0,
        entry.delivery or 0,
        entry.attempt,
        Raw(entry.value) if entry.status == "ok" and entry.value is not None else None,
        msgspec.json.decode(entry.error, type=Failure) if entry.error else None,
        (entry.opened_at or 0.0) if entry.kind == "step" else 0.0,
    )
