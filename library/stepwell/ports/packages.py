"""What catalogue and engine ask of whoever installs packages."""

from collections.abc import Callable
from typing import Protocol

from stepwell.errors import PackageRefused
from stepwell.model import Version
from stepwell.model.packages import Environment, Lock

Tell = Callable[[str], None]
"""Told in one line what is being done."""


class Packages(Protocol):
    """Third-party packages of workflows."""

    def check(self, version: Version) -> None:
        """Look at what the version declares, without installing anything.

        Raises:
            PackageRefused: the operator does not allow it, or this Python is not the one that it needs.
        """
        ...

    async def prepare(self, version: Version, tell: Tell | None = None) -> Lock | None:
        """Find and install what the version declares, and return which files that are; None if it declares nothing.

        A version that is stored with its files keeps them. The work goes on if the caller gives up.

        Raises:
            PackageRefused: it cannot be had as declared.
            PackagesUnavailable: there is no installer, no index, or no room.
        """
        ...

    async def ready(self, version: Version) -> Environment | None:
        """Return the environment that a stored version runs with, installed again if it is gone; None without packages.

        Raises:
            PackageRefused: the operator does not allow it any more, or it is for another Python.
            PackagesUnavailable: its files cannot be had.
        """
        ...


class NoPackages:
    """Implements `Packages` where nothing can be installed."""

    def check(self, version: Version) -> None:
        """Refuse every version that declares packages.

        Raises:
            PackageRefused: it does.
        """
        if version.manifest.get("dependencies"):
            raise PackageRefused("packages cannot be installed here", hint="Use the standard library and tools.")

    async def prepare(self, version: Version, tell: Tell | None = None) -> Lock | None:
        """See `check`."""
        self.check(version)
        return None

    async def ready(self, version: Version) -> Environment | None:
        """See `check`."""
        self.check(version)
        return None
