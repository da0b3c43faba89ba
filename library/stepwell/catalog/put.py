"""The transaction that stores a workflow, or only says what storing it would do."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event

from stepwell.catalog.documents import document_of
from stepwell.catalog.versions import SHOWN_HASH
from stepwell.errors import NameTaken
from stepwell.model import Version, Workflow
from stepwell.search.document import Document, columns
from stepwell.store import usage
from stepwell.store import workflows as store


@dataclass(frozen=True, slots=True)
class Stored:
    """What a `Put` did."""

    workflow: Workflow
    created: bool
    """False if the same was stored already, and for a dry run."""
    replaced: str | None
    """The hash of the version that is no longer current."""
    twins: tuple[str, ...]
    """Other workflows with the same source, by name."""


@dataclass(frozen=True, slots=True)
class Put:
    """Stores `wanted`: whether its name is free must still hold when the row is written."""

    wanted: Workflow
    replace: bool
    dry_run: bool
    begin: Callable[[Document, Event], None]
    """Called with the document of a new name before anybody else can see it."""
    answered: Event
    """Until then the processor is for whoever waits for the answer."""

    def rehearsed(self) -> "Put":
        """Return what only says what this would do."""
        return replace(self, dry_run=True)

    def of_version(self, version: Version) -> "Put":
        """Return the same with another form of its version."""
        return replace(self, wanted=replace(self.wanted, version=version))

    def __call__(self, connection: sqlite3.Connection) -> Stored:
        """Do it.

        Raises:
            NameTaken: the name exists, and may not be replaced.
        """
        wanted = self.wanted
        others = set(store.list_twins(connection, wanted.version.hash)) - {wanted.name}
        twins = tuple(sorted(others))
        before = store.find_workflow(connection, wanted.name)
        if before is not None:
            if _same(before, wanted, tags_too=self.replace):
                if not self.dry_run:
                    store.put_version(connection, wanted.version, wanted.created_at)
                return Stored(before, False, None, twins)
            self._check_replace(before)
        replaced = before.version.hash if before is not None and before.version.hash != wanted.version.hash else None
        if self.dry_run:
            versions = (wanted.version.hash, *(before.versions if before else ()))
            shown = replace(wanted, versions=tuple(dict.fromkeys(versions)))
            return Stored(shown, False, replaced, twins)
        document = document_of(wanted, usage.learned(connection, wanted.name))
        if before is None:
            self.begin(document, self.answered)
        return Stored(store.put_workflow(connection, wanted, columns(document)), True, replaced, twins)

    def _check_replace(self, before: Workflow) -> None:
        name = self.wanted.name
        if self.wanted.origin.startswith("file:") and before.origin != self.wanted.origin:
            raise NameTaken(
                f"A workflow `{name}` exists that does not come from this file (origin: {before.origin}).",
                hint=f"Rename the file, or delete the workflow: stepwell delete {name}.",
            )
        if not self.replace:
            raise NameTaken(
                f"A workflow `{name}` exists (version {before.version.hash[:SHOWN_HASH]}) and differs from this one.",
                hint="Pass replace=True to make this its new version, or choose another name.",
            )


def _same(before: Workflow, wanted: Workflow, *, tags_too: bool) -> bool:
    if before.version.hash != wanted.version.hash or before.description != wanted.description:
        return False
    return not tags_too or (before.tags, before.intents) == (wanted.tags, wanted.intents)
