"""A guest for a version: its process with the packages, and what it is told: the program, its input, the journal."""

import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from stepwell.engine.agent_keys import is_inside
from stepwell.engine.services import Services
from stepwell.errors import PackageRefused, PackagesMissing, PackagesUnavailable
from stepwell.model import Version
from stepwell.model.durability import Durability
from stepwell.ports import GuestProcess, Limits, frames
from stepwell.ports.frames import Failure, Recorded
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow

CUT = "!cut"  # before the keys of entries that were taken out of what is replayed: no guest makes such a key
ASKS = re.compile(r"[aA]gents?[.(]")
"""In a source that asks agents, as good as always: `agents.x`, `Agent(...)`, `ntx.agent(...)`."""
REPLAY_BYTES = 512 * 1024  # of values in one chunk of the replay


async def open_guest(services: Services, limits: Limits, version: Version) -> GuestProcess:
    """Return a confined process in which the version can be run.

    Raises:
        PackagesMissing: its packages cannot be had; the run can be resumed once they can.
        SandboxUnavailable: no process can be confined.
    """
    if ASKS.search(version.source):
        services.models.prepare()
    try:
        environment = await services.packages.ready(version)
        return await services.sandbox.open(limits, None if environment is None else environment.path)
    except (PackageRefused, PackagesUnavailable) as error:
        raise PackagesMissing(error.message, hint=error.hint) from error


async def begin(
    guest: GuestProcess,
    run: RunRow,
    version: Version,
    chunks: Sequence[list[Recorded]],
    *,
    attempt: int,
    mode: frames.Mode = "run",
    durability: Durability = "group",
    threads: int = 64,
    code: str = "",
    tells_code: bool = False,
) -> None:
    """Send a guest what it begins with."""
    start = frames.Start(
        run.id, run.workflow, version.source, version.entry, version.entry_kind, Raw(run.input), run.seed,
        run.clock_at, attempt, run.session_id, run.user_id, list(version.context_parameters), durability, mode, threads,
        code, tells_code,
    )  # fmt: skip
    await guest.send(start)
    for n, chunk in enumerate(chunks, 1):
        await guest.send(frames.Replay(chunk, n < len(chunks)))


def replay_chunks(entries: Iterable[Entry]) -> list[list[Recorded]]:
    """Return what a guest needs to replay, in chunks; at least one."""
    chunks: list[list[Recorded]] = [[]]
    size = 0
    for entry in entries:
        if entry.key.startswith(CUT) or is_inside(entry.key):
            continue  # the host's own
        if size > REPLAY_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(_recorded(entry))
        size += len(entry.value or b"") + len(entry.key) + 100
    return chunks


def read_cut(key: str) -> tuple[int, str]:
    """Return the number of the cut and the key before it, of the key of an entry that was cut off."""
    cut, _, old = key.removeprefix(CUT).partition("/")
    return int(cut), old


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
