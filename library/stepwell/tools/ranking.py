"""Which tools fit a query: the ranking that workflows have, over the tools of this process."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from stepwell.model import JsonObject
from stepwell.ports import ToolSpec
from stepwell.ports.tools import ToolHit, ToolSearch
from stepwell.search.document import Document, columns
from stepwell.search.ranking import rank
from stepwell.search.words import squeezed
from stepwell.store.search_text import create_tables, drop_text, put_text

MAX_PARAMETERS = 100  # of one tool that count
MAX_SAID = 1000  # characters of what is said of one


class ToolRanking:
    """Searches whatever tools it is given; what has not changed since the last search is not read again."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stepwell-tools")
        self._texts: _Texts | None = None

    async def search(self, tools: Iterable[ToolSpec], query: str, limit: int) -> ToolSearch:
        """Return the tools that fit the query, best first; for an empty query the first ones by name."""
        ordered = sorted(tools, key=lambda spec: spec.name)
        if not query.strip():
            return ToolSearch(tuple(ToolHit(spec, 0.0, "") for spec in ordered[: max(limit, 0)]))
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._search, ordered, query, limit)

    def close(self) -> None:
        """Give back its thread and memory."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._texts = None

    def _search(self, tools: Sequence[ToolSpec], query: str, limit: int) -> ToolSearch:
        if limit <= 0:
            return ToolSearch(())
        texts = self._texts = self._texts or _Texts()
        texts.renew(tools)
        ranking = rank(texts.connection, query, limit, named=texts.named(query), counts=texts.counts)
        items = tuple(ToolHit(texts.spec(item.id), item.score, item.why) for item in ranking.items)
        return ToolSearch(items, ranking.mode, ranking.model, ranking.low_confidence)


class _Texts:
    """The words of the tools, in memory."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        create_tables(self.connection)
        self.counts: dict[str, int] = {}
        """How many tools hold a word; empty after each change."""
        self._ids: dict[str, int] = {}
        self._specs: dict[int, ToolSpec] = {}
        self._names: dict[str, list[int]] = {}
        self._next = 1

    def renew(self, tools: Sequence[ToolSpec]) -> None:
        """Take in what is new, changed or gone."""
        changed = [spec for spec in tools if not self._has(spec)]
        gone = self._ids.keys() - {spec.name for spec in tools}
        if not changed and not gone:
            return
        self.counts.clear()
        self.connection.execute("BEGIN")
        for name in gone:
            id_ = self._ids.pop(name)
            del self._specs[id_]
            drop_text(self.connection, id_)
        for spec in changed:
            self._put(spec)
        self.connection.execute("COMMIT")
        self._names = {}
        for name, id_ in self._ids.items():
            self._names.setdefault(squeezed(name), []).append(id_)

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
