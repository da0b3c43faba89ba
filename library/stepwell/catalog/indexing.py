"""What is done behind searches: the model is loaded, vectors are made, a new model takes over when it has all."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from stepwell.catalog.ahead import Ahead
from stepwell.catalog.documents import document_of
from stepwell.catalog.vectors import digest_of, embed_documents
from stepwell.errors import StoreError
from stepwell.model.locks import take_lock
from stepwell.search.document import Document, columns
from stepwell.search.index import SearchIndex
from stepwell.search.loading import Models, SearchOptions
from stepwell.store import search_text, search_vectors, usage
from stepwell.store import workflows as store
from stepwell.store.database import Database

if TYPE_CHECKING:
    import sqlite3

    from stepwell.search.embedder import Embedder

SETTLE_S = 1.0
"""After the start: whoever starts has better things to do first."""
LOOK_S = 1.0
"""Between looks at what other processes have stored."""
MAX_BATCH = 32  # workflows between two writes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Item:
    id: int
    document: Document
    stamp: tuple[str, ...]
    words: bool
    """Its full text waits, too."""
    digest: bytes
    changed: bool
    """There is no vector of this text."""


@dataclass(frozen=True, slots=True)
class _Batch:
    items: list[_Item]
    gone: list[int]
    """Deleted while they waited."""
    embedder: "Embedder | None"
    """What makes their vectors; None where only words can be indexed."""

    @property
    def changed(self) -> list[_Item]:
        return [item for item in self.items if item.changed]


class Indexing:
    """Keeps the index of a home up to date while its process lives. One process of a home makes the vectors."""

    def __init__(self, database: Database, models: Models, lock: Path) -> None:
        self._database = database
        self._models = models
        self._ahead = Ahead(models)
        self._lock = lock
        self._woken = asyncio.Event()
        self._asked = False
        self._expected = False
        self._fetching: asyncio.Task[None] | None = None
        self._seen = -1
        self._look_again = 0.0
        """For a better model."""

    @property
    def models(self) -> Models:
        """The models of this process."""
        return self._models

    @property
    def problem(self) -> str:
        """Why meanings cannot be compared, if something is wrong with the model."""
        return self._models.problem

    def begin(self, document: Document, after: Event) -> None:
        """Begin to make the vector of a document that is being stored. From any thread; takes no time."""
        self._ahead.begin(document, after)

    def wake(self) -> None:
        """Say that something was stored that should be found soon."""
        self._asked = True
        self._woken.set()

    def expect(self) -> None:
        """Say that somebody searches: a model is of use. Seen at once the first time, then with the next look."""
        self._asked = True
        if not self._expected:
            self._expected = True
            self._woken.set()

    async def prepare(self, seconds: float) -> None:
        """Load the model that is here and index what waits, but not for longer: for commands that search once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._load(fetch=False)
                await bring_up_to_date(self._database, self._models, self._lock, self._ahead)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._wait(SETTLE_S)
            while True:
                try:
                    await self._work()
                except StoreError as error:
                    log.warning("the index could not be brought up to date: %s", error.message)
                except Exception:
                    log.exception("the index could not be brought up to date")
                await self._wait(LOOK_S)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()
                await asyncio.gather(self._fetching, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _work(self) -> None:
        version = await self._database.data_version()
        fetched = self._fetching is not None and self._fetching.done()
        if version == self._seen and not self._asked and not fetched:
            return
        self._seen = version
        if fetched:
            self._fetching = None
        if not self._asked and not await self._database.read(search_vectors.any_workflow):
            return  # an empty home needs no model until somebody asks
        self._asked = False
        # What was just stored waits for no look at the model's files that was made a moment ago.
        look = fetched or self._models.wanted is None or time.monotonic() >= self._look_again
        if look:
            await self._load()
            self._look_again = time.monotonic() + LOOK_S
        await bring_up_to_date(self._database, self._models, self._lock, self._ahead)
        self._seen = await self._database.data_version() if look else -1

    async def _load(self, *, fetch: bool = True) -> None:
        models = self._models
        if await models.load() and models.wanted is not None:
            wanted = models.wanted
            await self._database.write(
                lambda c: search_vectors.want_model(
                    c, wanted.key, wanted.model.name, wanted.model.dimensions, time.time()
                )
            )
        if models.wanted is not None:
            known = await self._database.read(search_vectors.list_models)
            serving = known.get("serving")
            if serving is not None and models.find(serving.key) is None:
                await models.load_named(serving.name)
            models.keep_only({row.key for row in known.values()})
        if fetch and self._fetching is None and models.should_fetch():
            self._fetching = asyncio.create_task(models.fetch(), name="stepwell-model-fetch")
            self._fetching.add_done_callback(lambda _: self._woken.set())


@asynccontextmanager
async def open_index(
    database: Database, options: SearchOptions, lock: Path, *, work: bool
) -> AsyncGenerator[tuple[SearchIndex, Indexing], None]:
    """Open a home's index; with `work` this process keeps it up to date while the context is open."""
    models = Models(options)
    index = SearchIndex(database.path, models)
    indexing = Indexing(database, models, lock)
    task = asyncio.create_task(indexing.run(), name="stepwell-indexing") if work else None
    if work:
        index.prepare()
    try:
        yield index, indexing
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await models.close()
        await asyncio.to_thread(index.close)


async def bring_up_to_date(database: Database, models: Models, lock: Path, ahead: Ahead) -> int:
    """Index what waits, and return how many workflows that were; 0 as well where another process is at it."""
    if not await database.read(lambda c: search_vectors.list_pending(c, 1) or _is_switching(c)):
        return 0
    fd = take_lock(lock)
    if fd is None:
        return 0
    try:
        return await _drain(database, models, ahead)
    finally:
        os.close(fd)


async def _drain(database: Database, models: Models, ahead: Ahead) -> int:
    done = 0
    size = 1  # the newest first and at once: somebody may be about to search for it
    while (batch := await database.read(_reader(models, size))).items or batch.gone:
        vectors: dict[int, tuple[bytes, bytes]] = {}
        if batch.embedder is not None and batch.changed:
            vectors = await models.compute(lambda batch=batch: _embed(batch, ahead))
        await database.write(_writer(batch, vectors))
        done += len(batch.items)
        size = MAX_BATCH
    if await database.read(_is_switching):
        await database.write(search_vectors.switch_model)
        while await database.read(search_vectors.find_forgotten):
            await database.write(search_vectors.forget_vectors)
    return done


def _is_switching(connection: "sqlite3.Connection") -> bool:
    known = search_vectors.list_models(connection)
    return "filling" in known or search_vectors.find_forgotten(connection) is not None


def _reader(models: Models, limit: int) -> "Callable[[sqlite3.Connection], _Batch]":
    def read(connection: "sqlite3.Connection") -> _Batch:
        known = search_vectors.list_models(connection)
        row = known.get("filling") or known.get("serving")
        embedder = None if row is None else models.find(row.key)
        waiting = search_vectors.list_pending(connection, limit, words_only=embedder is None)
        stamps = search_vectors.stamps(connection, waiting)
        workflows = store.load_workflows(connection, list(stamps))
        before = {} if embedder is None else search_vectors.digests(connection, embedder.key, workflows.keys())
        items: list[_Item] = []
        for id_, workflow in workflows.items():
            document = document_of(workflow, usage.learned(connection, workflow.name))
            digest = digest_of(document)
            items.append(_Item(id_, document, stamps[id_], waiting[id_], digest, changed=before.get(id_) != digest))
        return _Batch(items, [id_ for id_ in waiting if id_ not in stamps], embedder)

    return read


def _writer(batch: _Batch, vectors: dict[int, tuple[bytes, bytes]]) -> "Callable[[sqlite3.Connection], None]":
    def write(connection: "sqlite3.Connection") -> None:
        # One that has changed since it was read stays pending.
        stamps = search_vectors.stamps(connection, [item.id for item in batch.items])
        for id_ in batch.gone:
            search_vectors.settle_pending(connection, id_)
        for item in batch.items:
            if stamps.get(item.id) != item.stamp:
                continue
            if item.words:
                search_text.put_text(connection, item.id, columns(item.document))
            if batch.embedder is not None and item.id in vectors:
                search_vectors.put_vector(connection, batch.embedder.key, item.id, *vectors[item.id])
            search_vectors.settle_pending(connection, item.id, words_only=batch.embedder is None)

    return write


def _embed(batch: _Batch, ahead: Ahead) -> dict[int, tuple[bytes, bytes]]:
    """Return digest and vector of those whose text has changed. In the thread of the models."""
    assert batch.embedder is not None
    model = batch.embedder.key
    begun = {item.id: vector for item in batch.changed if (vector := ahead.take(model, item.digest)) is not None}
    rest = [item for item in batch.changed if item.id not in begun]
    made = embed_documents(batch.embedder, [item.document for item in rest])
    vectors = begun | dict(zip((item.id for item in rest), made, strict=True))
    return {item.id: (item.digest, vectors[item.id]) for item in batch.changed}
