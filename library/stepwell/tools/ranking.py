"""Which tools fit a query: the ranking that workflows have, over the tools of this process."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from stepwell.model import JsonObject
from stepwell.ports import ToolSpec
from stepwell.ports.tools import ToolHit, ToolSearch
from stepwell.search.document import Document, columns, text_for_model
from stepwell.search.fulltext import FullText
from stepwell.search.loading import Models
from stepwell.search.ranking import rank
from stepwell.search.words import squeezed
from stepwell.store.database import Database
from stepwell.store.search_text import create_tables, drop_text, put_text
from stepwell.store.search_vectors import find_cached, put_cached

if TYPE_CHECKING:
    from stepwell.search.vectors import Known, Vectors

T = TypeVar("T")

MAX_PARAMETERS = 100  # of one tool that count
MAX_SAID = 1000  # characters of what is said of one

_BATCH = 32  # texts embedded between two writes


@dataclass(frozen=True, slots=True)
class Meanings:
    """What comparing meanings takes."""

    models: Models
    database: Database
    """Keeps vectors, so that no process embeds the same text again."""
    expect: Callable[[], None]
    """Says that a model is of use."""


class ToolRanking:
    """Searches whatever tools it is given; what has not changed since the last search is not read again."""

    def __init__(self, meanings: Meanings | None = None) -> None:
        self._meanings = meanings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stepwell-tools")
        self._texts: _Texts | None = None
        self._known: Known | None = None
        self._key = ""
        self._filling: asyncio.Task[None] | None = None

    async def search(self, tools: Iterable[ToolSpec], query: str, limit: int) -> ToolSearch:
        """Return the tools that fit the query, best first; for an empty query the first ones by name."""
        ordered = sorted(tools, key=lambda spec: spec.name)
        if not query.strip():
            return ToolSearch(tuple(ToolHit(spec, 0.0, "") for spec in ordered[: max(limit, 0)]))
        found, missing = await self._apart(lambda: self._search(ordered, query, limit))
        if self._meanings is not None:
            self._meanings.expect()
            if missing and (self._filling is None or self._filling.done()):
                self._filling = asyncio.create_task(self._fill(self._meanings, missing), name="stepwell-tool-meanings")
        return found

    async def _apart(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _fill(self, meanings: Meanings, missing: dict[int, str]) -> None:
        """Give tools their vectors: those that this home has kept, then new ones."""
        embedder = meanings.models.wanted
        if embedder is None:
            return
        from stepwell.search.vectors import pack, unpack  # noqa: PLC0415 - numpy: only where there is a model

        digests = {id_: hashlib.sha256(text.encode()).digest()[:16] for id_, text in missing.items()}
        kept = await meanings.database.read(lambda c: find_cached(c, embedder.key, list(digests.values())))
        new = [id_ for id_ in missing if digests[id_] not in kept]
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            rows = await meanings.models.compute(lambda part=part: embedder.embed_texts([missing[id_] for id_ in part]))
            made = {digests[id_]: pack(row) for id_, row in zip(part, rows, strict=True)}
            await meanings.database.write(lambda c, made=made: put_cached(c, embedder.key, made.items()))
            kept |= made

        def take() -> None:
            texts = self._texts
            if self._known is None or texts is None or self._key != embedder.key:
                return
            # A tool that has changed meanwhile is looked at again by the next search.
            ids = [id_ for id_, text in missing.items() if texts.text(id_) == text and digests[id_] in kept]
            if ids:
                self._known.vectors.put(ids, unpack([kept[digests[id_]] for id_ in ids], embedder.model.dimensions))

        await self._apart(take)

    def close(self) -> None:
        """Give back its thread and memory."""
        if self._filling is not None:
            self._filling.cancel()
        if self._texts is not None:
            self._thread.submit(self._texts.close)  # behind what works with it
        self._thread.shutdown(wait=False)
        self._texts = self._known = None

    def _search(self, tools: Sequence[ToolSpec], query: str, limit: int) -> tuple[ToolSearch, dict[int, str]]:
        if limit <= 0:
            return ToolSearch(()), {}
        texts = self._texts = self._texts or _Texts()
        changed = texts.renew(tools)
        known = self._renew_meaning(changed)
        missing = texts.missing(known.vectors) if known is not None else {}
        meaning = known if known is not None and len(known.vectors) else None
        named = texts.named(query)
        ranking = rank(texts.full, query, limit, meaning=meaning, named=named)
        items = tuple(ToolHit(texts.spec(item.id), item.score, item.why) for item in ranking.items)
        pending = len(missing) if known is not None else 0
        return ToolSearch(items, ranking.mode, ranking.model, ranking.low_confidence, pending), missing

    def _renew_meaning(self, changed: Sequence[int]) -> "Known | None":
        embedder = None if self._meanings is None else self._meanings.models.wanted
        if embedder is None:
            self._known = None
        elif self._known is None or self._key != embedder.key:
            from stepwell.search.vectors import Known, Vectors  # noqa: PLC0415 - as in `_fill`

            self._known, self._key = Known(embedder, Vectors(embedder.model.dimensions)), embedder.key
        else:
            self._known.vectors.drop(changed)
        return self._known


class _Texts:
    """The words of the tools, in memory."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        create_tables(self.connection)
        self.full = FullText(self.connection)
        self._ids: dict[str, int] = {}
        self._specs: dict[int, ToolSpec] = {}
        self._names: dict[str, list[int]] = {}
        self._next = 1

    def close(self) -> None:
        """Give back their memory."""
        self.full.close()
        self.connection.close()

    def text(self, id_: int) -> str:
        """Return the text that a tool's vector is of; empty for one that is gone."""
        spec = self._specs.get(id_)
        return "" if spec is None else text_for_model(document_of(spec))

    def missing(self, vectors: "Vectors") -> dict[int, str]:
        """Return the texts of the tools that have no vector."""
        if len(vectors) == len(self._specs):
            return {}
        return {id_: self.text(id_) for id_ in self._specs if id_ not in vectors}

    def renew(self, tools: Sequence[ToolSpec]) -> list[int]:
        """Take in what is new, changed or gone; return the ids of the latter two."""
        changed = [spec for spec in tools if not self._has(spec)]
        gone = self._ids.keys() - {spec.name for spec in tools}
        if not changed and not gone:
            return []
        stale = [self._ids[name] for name in (*gone, *(spec.name for spec in changed)) if name in self._ids]
        self.connection.execute("BEGIN")
        for name in gone:
            id_ = self._ids.pop(name)
            del self._specs[id_]
            drop_text(self.connection, id_)
        for spec in changed:
            self._put(spec)
        self.connection.execute("COMMIT")
        self.full.refresh()
        self._names = {}
        for name, id_ in self._ids.items():
            self._names.setdefault(squeezed(name), []).append(id_)
        return stale

    def spec(self, id_: int) -> ToolSpec:
        """Return the tool of an id."""
        return self._specs[id_]

    def named(self, query: str) -> list[int]:
        """Return the tools whose name the query is."""
        return self._names.get(squeezed(query[:500]), [])

    def _has(self, spec: ToolSpec) -> bool:
        id_ = self._ids.get(spec.name)
        return id_ is not None and (self._specs[id_] is spec or self._specs[id_] == spec)

    def _put(self, spec: ToolSpec) -> None:
        id_ = self._ids.setdefault(spec.name, self._next)
        self._next = max(self._next, id_ + 1)
        self._specs[id_] = spec
        put_text(self.connection, id_, columns(document_of(spec)))


def document_of(spec: ToolSpec) -> Document:
    """Return what can be found of a tool."""
    properties = spec.schema.get("properties")
    said: list[tuple[str, JsonObject]] = list(properties.items()) if isinstance(properties, dict) else []
    parameters = tuple((str(name)[:MAX_SAID], _described(schema)) for name, schema in said[:MAX_PARAMETERS])
    return Document(spec.name, spec.description, parameters=parameters)


def _described(schema: object) -> str:
    said = schema.get("description") if isinstance(schema, dict) else None
    return said[:MAX_SAID] if isinstance(said, str) else ""
