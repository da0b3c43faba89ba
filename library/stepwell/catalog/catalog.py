"""The catalogue: workflows by name and by intent."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from stepwell.catalog.analysis import analyse
from stepwell.catalog.checking import ArgumentChecks
from stepwell.catalog.documents import document_of
from stepwell.catalog.likeness import Likeness, find_alike, purpose_of, warn_of
from stepwell.catalog.limits import within
from stepwell.catalog.literal import as_text
from stepwell.catalog.names import CANDIDATES, check_name, is_name, near_names
from stepwell.catalog.search import SearchResult, search
from stepwell.errors import InvalidArguments, NameTaken, NotFound
from stepwell.model import JsonObject, Version, Warn, Workflow
from stepwell.ports.limits import Limits
from stepwell.ports.packages import NoPackages, Packages, Tell
from stepwell.search.document import columns
from stepwell.search.index import SearchIndex, View, view_once
from stepwell.store import usage
from stepwell.store import workflows as store
from stepwell.store.database import Database

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_DESCRIPTION = 2000  # characters
MAX_INTENTS = 10
MAX_INTENT = 200  # characters
MAX_TAGS = 20
MAX_TAG = 50  # characters
MAX_PAGE = 200
MAX_HITS = 50

_CACHED_VERSIONS = 256
_SHOWN_HASH = 12  # digits
_MIN_PREFIX = 6  # digits


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
        wake: Callable[[], None] = lambda: None,
        expect: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it for one store. `limits` are those that the operator sets for runs; workflows may lower them.

        Without an `index` searches go by words. `wake` is called when something is stored, `expect` when
        something is searched for.
        """
        self._database = database
        self._index = index
        self._wake = wake
        self._expect = expect
        self._limits = limits or Limits()
        self._packages: Packages = packages or NoPackages()
        self._versions: dict[str, Version] = {}
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
        if self._index is not None and description:
            self._index.begin(purpose_of(name, as_text(description).strip()))
        version = await asyncio.to_thread(analyse, source, name=name, entry=entry or None)
        of_limits = within(version, self._limits)
        wanted = Workflow(
            name=name,
            description=_description(description, version),
            tags=_texts(tags, "tags", MAX_TAGS, MAX_TAG),
            intents=_texts(intents, "intents", MAX_INTENTS, MAX_INTENT),
            version=version,
            created_at=time.time(),
            origin=origin,
        )
        # At the same time: one computes, the other waits for the disk.
        alike, (stored, created, replaced) = await asyncio.gather(
            self._find_alike(wanted),
            self._put(_Put(wanted, replace=replace, dry_run=dry_run), tell),
        )
        if created:
            self._wake()
        warnings = (*_relevant(version.warnings, wanted), *of_limits)
        if (
            not created
            and not dry_run
            and (_differ(wanted.tags, stored.tags) or _differ(wanted.intents, stored.intents))
        ):
            message = "this source is stored with other tags or intents, which were kept: pass replace=True."
            warnings = (*warnings, Warn(code="not_updated", message=message))
        if created or dry_run:
            warnings = (*warnings, *warn_of(alike, name))
        similar = tuple(item.name for item in alike)
        return Created(workflow=stored, created=created, replaced=replaced, warnings=warnings, similar=similar)

    async def _find_alike(self, wanted: Workflow) -> "list[Likeness]":
        try:
            return await self._viewing(lambda view: find_alike(view, wanted))
        except Exception:
            log.exception("no workflows like %s could be looked for", wanted.name)
            return []  # it is stored all the same

    async def _put(self, wanted: "_Put", tell: Tell | None) -> tuple[Workflow, bool, str | None]:
        store_it = await self._bind(wanted, tell)
        return await (self._database.read if wanted.dry_run else self._database.write)(store_it)

    async def _bind(self, wanted: "_Put", tell: Tell | None) -> "_Put":
        """Return the same with the packages of its version, which are installed now."""
        version = wanted.wanted.version
        self._packages.check(version)
        if wanted.dry_run or not version.manifest.get("dependencies"):
            return wanted
        await self._database.read(replace(wanted, dry_run=True))  # a name that is taken needs no packages
        return replace(wanted, wanted=replace(wanted.wanted, version=await self._with_packages(version, tell)))

    async def _with_packages(self, version: Version, tell: Tell | None = None) -> Version:
        stored = await self._database.read(lambda c: store.find_version(c, version.hash))
        known = version if stored is None else replace(version, lock=stored.lock)
        self._versions.pop(version.hash, None)
        return replace(version, lock=await self._packages.prepare(known, tell))

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
        known = ", ".join(item[:_SHOWN_HASH] for item in (hashes or current.versions)[:5])
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
        if (known := self._versions.get(hash_)) is not None:
            return known
        wanted = hash_.encode("ascii", "replace").decode()
        found = await self._database.read(lambda c: store.find_version(c, wanted))
        if found is None:
            raise NotFound(f"There is no version {hash_[:_SHOWN_HASH]!a}.", hint="It takes the full hash.")
        if len(self._versions) >= _CACHED_VERSIONS:
            self._versions.pop(next(iter(self._versions)))
        self._versions[hash_] = found
        return found

    async def add_version(self, version: Version, tell: Tell | None = None) -> None:
        """Store a version that no name points at, for ad hoc code.

        Raises:
            PackageRefused, PackagesUnavailable: a package that it declares cannot be had.
        """
        version = await self._with_packages(version, tell)
        await self._database.write(lambda c: store.renew_version(c, version, time.time()))

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
        if self._index is not None:
            self._index.begin(text)
        found = await self._viewing(lambda view: search(view, text, max(1, min(limit, MAX_HITS))))
        (self._wake if found.model is not None and found.pending else self._expect)()
        return found

    async def _viewing(self, work: Callable[[View], T]) -> T:
        if self._index is not None:
            return await self._index.run(work)
        return await self._database.read(lambda connection: view_once(connection, work))

    async def note_lead(self, run_id: str, request: str) -> None:
        """Note the request whose search led to a run; it is learned if the run completes."""
        text = " ".join(as_text(request).split())
        if len(text) <= MAX_INTENT:
            await self._database.write(lambda c: usage.note_lead(c, run_id, text, time.time()))
            self._wake()

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
        found = await self._viewing(lambda view: search(view, as_text(name)[:MAX_INTENT], MAX_HITS))
        some = await self._database.read(lambda c: store.list_some(c, CANDIDATES))
        near = await asyncio.to_thread(near_names, name, [*(hit.workflow.name for hit in found.items), *some])
        hint = f"Did you mean {' or '.join(near)}?" if near else "Search with search_workflows, or create it."
        return NotFound(f"There is no workflow {name[:60]!a}.", hint=hint)


@dataclass(frozen=True, slots=True)
class _Put:
    # One transaction: whether the name is free must still hold when the row is written.
    wanted: Workflow
    replace: bool
    dry_run: bool

    def __call__(self, connection: sqlite3.Connection) -> tuple[Workflow, bool, str | None]:
        wanted = self.wanted
        before = store.find_workflow(connection, wanted.name)
        if before is not None:
            if _same(before, wanted, tags_too=self.replace):
                if not self.dry_run:
                    store.put_version(connection, wanted.version, wanted.created_at)
                return before, False, None
            self._check_replace(before)
        replaced = before.version.hash if before is not None and before.version.hash != wanted.version.hash else None
        if self.dry_run:
            versions = (wanted.version.hash, *(before.versions if before else ()))
            return replace(wanted, versions=tuple(dict.fromkeys(versions))), False, replaced
        document = document_of(wanted, usage.learned(connection, wanted.name))
        return store.put_workflow(connection, wanted, columns(document)), True, replaced

    def _check_replace(self, before: Workflow) -> None:
        name = self.wanted.name
        if self.wanted.origin.startswith("file:") and before.origin != self.wanted.origin:
            raise NameTaken(
                f"A workflow `{name}` exists that does not come from this file (origin: {before.origin}).",
                hint=f"Rename the file, or delete the workflow: stepwell delete {name}.",
            )
        if not self.replace:
            raise NameTaken(
                f"A workflow `{name}` exists (version {before.version.hash[:_SHOWN_HASH]}) and differs from this one.",
                hint="Pass replace=True to make this its new version, or choose another name.",
            )


def _same(before: Workflow, wanted: Workflow, *, tags_too: bool) -> bool:
    if before.version.hash != wanted.version.hash or before.description != wanted.description:
        return False
    return not tags_too or (before.tags, before.intents) == (wanted.tags, wanted.intents)


def _differ(wanted: tuple[str, ...], stored: tuple[str, ...]) -> bool:
    return bool(wanted) and wanted != stored


def _description(given: str | None, version: Version) -> str:
    if given is None or not given.strip():
        return version.description
    text = as_text(given).strip()
    if len(text) > MAX_DESCRIPTION:
        raise InvalidArguments(
            f"description: {len(text):,} characters, at most {MAX_DESCRIPTION:,} are accepted.",
            hint="Say in one sentence what the workflow does; put the rest into its docstring.",
        )
    return text


def _texts(given: Sequence[str], field: str, most: int, longest: int) -> tuple[str, ...]:
    if len(given) > most:
        raise InvalidArguments(f"{field}: {len(given)} given, at most {most} are accepted.", hint="Leave some out.")
    texts = [" ".join(as_text(item).split()) for item in given]
    for text in texts:
        if len(text) > longest:
            raise InvalidArguments(
                f"{field}: {text[:40]!r}... has {len(text)} characters, at most {longest} are accepted.",
                hint="Shorten it.",
            )
    return tuple(dict.fromkeys(text for text in texts if text))


def _relevant(warnings: tuple[Warn, ...], wanted: Workflow) -> tuple[Warn, ...]:
    # A description given at create does what the missing docstring would have done.
    return tuple(item for item in warnings if item.code != "missing_docstring" or not wanted.description)
