"""The catalogue: workflows by name and by intent."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from stepwell.catalog.analysis import analyse
from stepwell.catalog.checking import ArgumentChecks
from stepwell.catalog.index import CatalogIndex
from stepwell.catalog.indexing import Indexing
from stepwell.catalog.likeness import Near, compare, find_near, warn_of
from stepwell.catalog.limits import within
from stepwell.catalog.literal import as_text
from stepwell.catalog.names import CANDIDATES, check_name, is_name, near_names
from stepwell.catalog.put import Put, Stored
from stepwell.catalog.search import SearchResult, search
from stepwell.catalog.texts import MAX_INTENT, description_of, intents_of, tags_of
from stepwell.catalog.versions import SHOWN_HASH, Versions
from stepwell.errors import NotFound
from stepwell.model import JsonObject, Version, Warn, Workflow
from stepwell.ports.limits import Limits
from stepwell.ports.packages import NoPackages, Packages, Tell
from stepwell.search.index import SearchIndex
from stepwell.store import usage
from stepwell.store import workflows as store
from stepwell.store.database import Database

log = logging.getLogger(__name__)

MAX_PAGE = 200
MAX_HITS = 50

_MIN_PREFIX = 6  # digits
_NOT_UPDATED = Warn(
    code="not_updated",
    message="this source is stored with other tags or intents, which were kept: pass replace=True.",
)


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` did."""

    workflow: Workflow
    created: bool
    """False if the same was stored already, and for a dry run."""
    replaced: str | None
    """The hash of the version that is no longer current."""
    warnings: tuple[Warn, ...]
    similar: tuple[str, ...]
    """Names of workflows that may do the same, likeliest first."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of the list of workflows."""

    items: tuple[Workflow, ...]
    next_cursor: str | None
    """Passed to `list` for the next page; None on the last."""
    total: int


class Catalog:
    """Workflows in one store. A source is read, never executed."""

    def __init__(
        self,
        database: Database,
        limits: Limits | None = None,
        packages: Packages | None = None,
        *,
        index: SearchIndex | None = None,
        indexing: Indexing | None = None,
    ) -> None:
        """Make it for one store. `limits` are those that the operator sets for runs; workflows may lower them.

        Without an `index` searches go by words; `indexing` is what keeps it up to date.
        """
        self._database = database
        self._index = CatalogIndex(database, index, indexing)
        self._limits = limits or Limits()
        self._versions = Versions(database, packages or NoPackages())
        self._checks = ArgumentChecks()

    async def create(
        self,
        name: str,
        source: str,
        *,
        description: str | None = None,
        intents: Sequence[str] = (),
        tags: Sequence[str] = (),
        replace: bool = False,
        entry: str | None = None,
        dry_run: bool = False,
        origin: str = "client",
        tell: Tell | None = None,
    ) -> Created:
        """Store a workflow, or with `dry_run` only say what storing it would do.

        Storing the same again is success. `replace` makes a new version of a name that exists; a workflow with a
        `file:` origin replaces only what came from that file. Packages that the source declares are installed first,
        which may take a while, and goes on if the caller gives up; `tell` hears of it.

        Raises:
            InvalidName: the name cannot be used.
            InvalidSource: the source cannot be stored.
            InvalidArguments: a description, intent or tag is too long, or there are too many.
            NameTaken: the name exists and `replace` was not asked for.
            PackageRefused, PackagesUnavailable: a package cannot be had.
        """
        check_name(name)
        said = as_text(description or "").strip()
        # At the same time: the model works on the purpose, one thread reads the source, another waits for the disk.
        near = asyncio.create_task(self._find_near(name, said)) if said else None
        answered = Event()
        try:
            version = await asyncio.to_thread(analyse, source, name=name, entry=entry or None)
            of_limits = within(version, self._limits)
            wanted = Workflow(
                name=name,
                description=description_of(description, version),
                tags=tags_of(tags),
                intents=intents_of(intents),
                version=version,
                created_at=time.time(),
                origin=origin,
            )
            near = near or asyncio.create_task(self._find_near(name, wanted.description))
            stored = await self._put(Put(wanted, replace, dry_run, self._index.begin_document, answered), tell)
            alike = compare(wanted, await near, stored.twins)
        finally:
            answered.set()
            if near is not None:
                near.cancel()
        if stored.created:
            self._index.wake()
        warnings = [*_relevant(version.warnings, wanted), *of_limits]
        if stored.created or dry_run:
            warnings += warn_of(alike, name)
        elif _differ(wanted.tags, stored.workflow.tags) or _differ(wanted.intents, stored.workflow.intents):
            warnings.append(_NOT_UPDATED)
        similar = tuple(item.name for item in alike)
        return Created(stored.workflow, stored.created, stored.replaced, tuple(warnings), similar)

    async def _find_near(self, name: str, description: str) -> "list[Near]":
        try:
            return await self._index.see(lambda view: find_near(view, name, description))
        except Exception:
            log.exception("no workflows like %s could be looked for", name)
            return []  # it is stored all the same

    async def _put(self, put: Put, tell: Tell | None) -> Stored:
        version = put.wanted.version
        self._versions.check_packages(version)
        if put.dry_run:
            return await self._database.read(put)
        if version.manifest.get("dependencies"):
            await self._database.read(put.rehearsed())  # a name that is taken needs no packages
            put = put.of_version(await self._versions.with_packages(version, tell))
        return await self._database.write(put)

    async def get(self, name: str, version: str | None = None) -> Workflow:
        """Return a workflow, as it is or as it was at a version given by its hash or the hash's first digits.

        Raises:
            NotFound: there is no such workflow or version; the hint names near ones.
        """
        if (current := await self.find(name)) is None:
            raise await self._not_found(name)
        if version is None:
            return current
        prefix = version.strip().lower()[:64]
        found, hashes = await self._database.read(lambda c: store.find_at_version(c, current.name, prefix))
        if found is not None:
            return found
        known = ", ".join(item[:SHOWN_HASH] for item in (hashes or current.versions)[:5])
        problem = "several versions that start" if hashes else "no version that starts"
        raise NotFound(
            f"`{name}` has {problem} with {prefix[:20]!a}.",
            hint=f"Pass at least {_MIN_PREFIX} digits of one of these: {known}.",
        )

    async def find(self, name: str) -> Workflow | None:
        """Return a workflow with its current version, or None."""
        return await self._database.read(lambda c: store.find_workflow(c, name)) if is_name(name) else None

    async def current(self, name: str) -> Version:
        """Return the version that a name stands for now, or raise NotFound as `get` does."""
        row = await self._database.read(lambda c: store.find_row(c, name)) if is_name(name) else None
        if row is None or row.deleted:
            raise await self._not_found(name)
        return await self.version(row.version)

    async def version(self, hash_: str) -> Version:
        """Return a version by its full hash, also one of a deleted workflow.

        Raises:
            NotFound: no such version was ever stored.
        """
        return await self._versions.get(hash_)

    async def add_version(self, version: Version, tell: Tell | None = None) -> None:
        """Store a version that no name points at, for ad hoc code.

        Raises:
            PackageRefused, PackagesUnavailable: a package that it declares cannot be had.
        """
        await self._versions.add(version, tell)

    def analyse_code(self, code: str) -> Version:
        """Read ad hoc code: a workflow, or a script whose last expression is its result.

        Raises:
            InvalidSource: it does not parse or crosses a limit.
        """
        version = analyse(code, name="run_code", script=True)
        within(version, self._limits)
        return version

    async def check(self, version: Version, arguments: JsonObject) -> JsonObject:
        """Return the arguments, checked against the version's schema.

        Raises:
            InvalidArguments: they do not fit.
        """
        return await self._checks.check(version, arguments)

    async def list(
        self, limit: int = 50, cursor: str | None = None, tag: str | None = None, only: store.Only | None = None
    ) -> Page:
        """Return workflows by name, at most 200 at a time; with `only`, those that are used or kept in some way."""
        count = max(1, min(limit, MAX_PAGE))
        after = as_text(cursor or "")
        wanted = as_text(tag) if tag is not None else None
        items, total = await self._database.read(lambda c: store.list_workflows(c, count + 1, after, wanted, only))
        following = items[count - 1].name if len(items) > count else None
        return Page(items=tuple(items[:count]), next_cursor=following, total=total)

    async def search(self, query: str, limit: int = 5) -> SearchResult:
        """Return the workflows that fit an intent, best first. Any text is a query; none is an error."""
        text = as_text(query)
        found = await self._index.see(lambda view: search(view, text, max(1, min(limit, MAX_HITS))))
        if found.model is not None and found.pending:
            self._index.wake()
        else:
            self._index.expect()
        return found

    async def note_lead(self, run_id: str, request: str) -> None:
        """Note the request whose search led to a run; it is learned if the run completes."""
        text = " ".join(as_text(request).split())
        if len(text) <= MAX_INTENT:
            await self._database.write(lambda c: usage.note_lead(c, run_id, text, time.time()))
            self._index.wake()

    async def delete(self, name: str) -> bool:
        """Hide a workflow from everything but the runs that hold its versions. Return False if there is none."""
        if not is_name(name):
            return False
        return await self._database.write(lambda c: store.delete_workflow(c, name, time.time()))

    async def pin(self, name: str, pinned: bool) -> None:
        """Pin or unpin a workflow.

        Raises:
            NotFound: there is no such workflow.
        """
        if not is_name(name) or not await self._database.write(lambda c: store.pin_workflow(c, name, pinned=pinned)):
            raise await self._not_found(name)

    async def pinned(self) -> "list[Workflow]":
        """Return the pinned workflows by name."""
        return await self._database.read(store.list_pinned)

    async def names(self, origin_prefix: str = "") -> "list[tuple[str, str]]":
        """Return `(name, origin)` of the workflows whose origin starts with `origin_prefix`."""
        return await self._database.read(lambda c: store.list_names(c, origin_prefix))

    async def _not_found(self, name: str) -> NotFound:
        # Of a large catalogue only part is compared letter by letter, so first what words and meaning find.
        found = await self._index.see(lambda view: search(view, as_text(name)[:MAX_INTENT], MAX_HITS))
        some = await self._database.read(lambda c: store.list_some(c, CANDIDATES))
        near = await asyncio.to_thread(near_names, name, [*(hit.workflow.name for hit in found.items), *some])
        hint = f"Did you mean {' or '.join(near)}?" if near else "Search with search_workflows, or create it."
        return NotFound(f"There is no workflow {name[:60]!a}.", hint=hint)


def _differ(wanted: tuple[str, ...], stored: tuple[str, ...]) -> bool:
    return bool(wanted) and wanted != stored


def _relevant(warnings: tuple[Warn, ...], wanted: Workflow) -> tuple[Warn, ...]:
    # A description given at create does what the missing docstring would have done.
    return tuple(item for item in warnings if item.code != "missing_docstring" or not wanted.description)
