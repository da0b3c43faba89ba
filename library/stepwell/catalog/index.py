"""What a catalogue is searched by: an index that is kept up to date, or the words in its store."""

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from stepwell.catalog.indexing import Indexing
from stepwell.search.document import Document
from stepwell.search.index import SearchIndex, View, view_once
from stepwell.store.database import Database

T = TypeVar("T")


class CatalogIndex:
    """The index of one store and what works behind it; both may be missing."""

    def __init__(self, database: Database, index: SearchIndex | None, indexing: Indexing | None) -> None:
        self._database = database
        self._index = index
        self._indexing = indexing

    def begin_document(self, document: Document, after: Event) -> None:
        """Begin to find out what a document means that is about to be stored. From any thread; takes no time."""
        if self._indexing is not None:
            self._indexing.begin(document, after)

    async def see(self, work: Callable[[View], T]) -> T:
        """Return what `work` returns.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._index is not None:
            return await self._index.run(work)
        return await self._database.read(lambda connection: view_once(connection, work))

    def wake(self) -> None:
        """Say that something was stored that should be found soon."""
        if self._indexing is not None:
            self._indexing.wake()

    def expect(self) -> None:
        """Say that somebody searches."""
        if self._indexing is not None:
            self._indexing.expect()
