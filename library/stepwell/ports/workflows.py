"""What the engine asks of the catalogue."""

from typing import Protocol

from stepwell.model import JsonObject, Version, Workflow


class WorkflowSource(Protocol):
    """Stored workflows by name and by version."""

    async def get(self, name: str, version: str | None = None) -> Workflow:
        """Return a workflow.

        Raises:
            NotFound: no such name; the hint has near ones.
        """
        ...

    async def current(self, name: str) -> Version:
        """Return the version that a name stands for now.

        Raises:
            NotFound: as `get`.
        """
        ...

    async def version(self, hash_: str) -> Version:
        """Return the version of that hash, also of a deleted workflow."""
        ...

    async def add_version(self, version: Version) -> None:
        """Store a version that has no name, for ad hoc code.

        Raises:
            PackageRefused, PackagesUnavailable: a package that it declares cannot be had.
        """
        ...

    def analyse_code(self, code: str) -> Version:
        """Read ad hoc code: a workflow, or a script whose last value is its result.

        Raises:
            InvalidSource: it does not parse.
        """
        ...

    async def check(self, version: Version, arguments: JsonObject) -> JsonObject:
        """Return the arguments, checked against the version's schema.

        Raises:
            InvalidArguments: they do not fit.
        """
        ...
