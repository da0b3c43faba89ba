"""A process's view of what can be found: a connection that reads, a thread, and the vectors in memory."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stepwell.search.fulltext import FullText
from stepwell.search.loading import Models
from stepwell.search.ranking import Meaning
from stepwell.store import search_vectors as store
from stepwell.store.database import connect_reader, unusable

if TYPE_CHECKING:
    from stepwell.search.vectors import Known, Vectors

T = TypeVar("T")

_PAGE = 5000  # vectors read at one time


@dataclass(slots=True)
class View:
    """What a search sees. Good while the function that it is passed to runs."""

    text: FullText
    meaning: Meaning | None = None
    pending: int = 0
    """Documents whose meaning is not known yet."""

    @property
    def connection(self) -> sqlite3.Connection:
        """For whatever else there is to read."""
        return self.text.connection


def view_once(connection: sqlite3.Connection, work: Callable[[View], T]) -> T:
    """Return what `work` returns for words alone, on a connection of the caller's; nothing is kept."""
    with closing(FullText(connection)) as text:
        return work(View(text))


class SearchIndex:
    """Runs searches one after the other, each on what everybody has committed before it."""

    def __init__(self, path: Path, models: Models) -> None:
        self._path = path
        self._models = models
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stepwell-search")
        self._view: View | None = None
        self._seen: tuple[int, int] | None = None
        self._key = ""
        self._last = 0
        self._vectors: Vectors | None = None
        self._known: Known | None = None

    def prepare(self) -> None:
        """Do beside other work what the first search would begin with: SQLite reads the schema and opens the texts."""
        self._thread.submit(self._run, lambda view: view.text.count(["the"]))  # how it ends the first search finds out

    async def run(self, work: Callable[[View], T]) -> T:
        """Return what `work` returns; it reads one snapshot of the store.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)
        except sqlite3.OperationalError as error:
            raise unusable(self._path, error) from error

    def close(self) -> None:
        """Let go of the connection and the vectors."""

        def close() -> None:
            if self._view is not None:
                self._view.text.close()
                self._view.connection.close()
            self._view = self._known = self._vectors = None

        self._thread.submit(close)
        self._thread.shutdown(wait=True)

    def _run(self, work: Callable[[View], T]) -> T:
        view = self._view = self._view or View(FullText(connect_reader(self._path)))
        view.connection.execute("BEGIN")
        try:
            self._refresh(view)
            return work(view)
        finally:
            view.connection.execute("ROLLBACK")

    def _refresh(self, view: View) -> None:
        seen = (int(view.connection.execute("PRAGMA data_version").fetchone()[0]), self._models.version)
        if seen == self._seen:
            return
        view.text.refresh()
        view.pending = store.count_pending(view.connection)
        serving = store.list_models(view.connection).get("serving")
        embedder = None if serving is None else self._models.find(serving.key)
        if serving is None or embedder is None:
            view.meaning = self._known = self._vectors = None
            self._key = ""
        else:
            # numpy: only where there is a model.
            from stepwell.search.vectors import Known, Vectors  # noqa: PLC0415

            if self._vectors is None or serving.key != self._key:
                self._key, self._last, self._vectors = serving.key, 0, Vectors(serving.dimensions)
                self._known = Known(embedder, self._vectors)
            self._read(view.connection, self._vectors, serving.dimensions)
            view.meaning = self._known if len(self._vectors) else None
        self._seen = seen

    def _read(self, connection: sqlite3.Connection, vectors: "Vectors", dimensions: int) -> None:
        from stepwell.search.vectors import unpack  # noqa: PLC0415 - as in `_refresh`

        while rows := store.list_vectors(connection, self._key, self._last, _PAGE):
            vectors.drop(id_ for _, id_, vector in rows if vector is None)
            kept = {id_: vector for _, id_, vector in rows if vector is not None}
            if kept:
                vectors.put(list(kept), unpack(kept.values(), dimensions))
            self._last = rows[-1][0]
