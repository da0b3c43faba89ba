"""Versions by their hashes, with the packages that they declare."""

import time
from dataclasses import replace

from stepwell.errors import NotFound
from stepwell.model import Version
from stepwell.ports.packages import Packages, Tell
from stepwell.store import workflows as store
from stepwell.store.database import Database

_CACHED = 256
SHOWN_HASH = 12  # digits


class Versions:
    """The versions of one store, those asked for last in memory."""

    def __init__(self, database: Database, packages: Packages) -> None:
        self._database = database
        self._packages = packages
        self._cached: dict[str, Version] = {}

    async def get(self, hash_: str) -> Version:
        """Return a version by its full hash, also one of a deleted workflow.

        Raises:
            NotFound: no such version was ever stored.
        """
        if (known := self._cached.get(hash_)) is not None:
            return known
        wanted = hash_.encode("ascii", "replace").decode()
        found = await self._database.read(lambda c: store.find_version(c, wanted))
        if found is None:
            raise NotFound(f"There is no version {hash_[:SHOWN_HASH]!a}.", hint="It takes the full hash.")
        if len(self._cached) >= _CACHED:
            self._cached.pop(next(iter(self._cached)))
        self._cached[hash_] = found
        return found

    async def add(self, version: Version, tell: Tell | None) -> None:
        """Store a version that no name points at.

        Raises:
            PackageRefused, PackagesUnavailable: a package that it declares cannot be had.
        """
        version = await self.with_packages(version, tell)
        await self._database.write(lambda c: store.renew_version(c, version, time.time()))

    def check_packages(self, version: Version) -> None:
        """Check what a version declares, before anything is installed.

        Raises:
            PackageRefused: it may not have a package.
        """
        self._packages.check(version)

    async def with_packages(self, version: Version, tell: Tell | None) -> Version:
        """Return the version with the packages that it declares, which are installed now.

        Raises:
            PackageRefused, PackagesUnavailable: a package cannot be had.
        """
        stored = await self._database.read(lambda c: store.find_version(c, version.hash))
        known = version if stored is None else replace(version, lock=stored.lock)
        self._cached.pop(version.hash, None)
        return replace(version, lock=await self._packages.prepare(known, tell))
