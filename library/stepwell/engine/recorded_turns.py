"""Turns of an earlier run, served to a run that shall ask no model."""

import asyncio

from stepwell.engine.book import Book
from stepwell.errors import ModelFailure
from stepwell.store import journal
from stepwell.store.database import Database


class RecordedTurns:
    """Finds turns by what was asked; each is served once, in their order, also over restarts of the run."""

    def __init__(self, database: Database, run_id: str | None, book: Book) -> None:
        self._database = database
        self._run_id = run_id
        self._book = book
        self._places: dict[str, list[tuple[str, int]]] | None = None
        self._loading = asyncio.Lock()

    async def find(self, agent: str, digest: str) -> bytes | None:
        """Return the value of the next turn that answered such a request; None if turns are not served.

        Raises:
            ModelFailure: code `not_recorded`.
        """
        run_id = self._run_id
        if run_id is None:
            return None
        async with self._loading:
            if self._places is None:
                self._places = await self._load(run_id)
        places = self._places.get(digest)
        if not places:
            raise ModelFailure(
                f"run {run_id} has no recorded turn for what the agent {agent!r} is asked now: its prompt, "
                "instructions, tools or the results of its tools differ",
                code="not_recorded",
            )
        of_run, seq = _next(places)
        return await self._database.read(lambda c: journal.read_value(c, of_run, seq))

    async def _load(self, run_id: str) -> dict[str, list[tuple[str, int]]]:
        found: dict[str, list[tuple[str, int]]] = {}
        for digest, place in await self._database.read(lambda c: journal.list_turns(c, run_id)):
            found.setdefault(digest, []).append(place)
        for entry in self._book.entries.values():
            if entry.kind == "turn" and entry.status == "ok" and entry.digest in found:
                _next(found[entry.digest])
        return found


def _next(places: list[tuple[str, int]]) -> tuple[str, int]:
    # The last one serves every further request of that kind.
    return places.pop(0) if len(places) > 1 else places[0]
