"""Sources that are read once, when a tool of theirs is first looked for."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from stepwell.tools.messages import clean
from stepwell.tools.mistakes import dotted
from stepwell.tools.tool import Tool

MAX_PROBLEM = 1000  # characters


class NotLoaded(Exception):
    """The source cannot be used; the text says why."""


class LoadedSource(ABC):
    """A `Source` of tools that stay what they are; reading goes on when nobody waits for it any more."""

    _again = False
    """Whether one that could not be read is tried again for a call."""

    def __init__(self, namespace: str, table: str, named: str) -> None:
        """Take the namespace, and the table and key of `stepwell.toml` that describe it."""
        self.name = namespace
        self.section = dotted([table, named])
        self.revision = 0
        self.problem = ""
        self._shown = f"{table} {named}"
        self._tools: Sequence[Tool] = ()
        self._loading: asyncio.Task[None] | None = None
        self._loaded = False

    def tools(self) -> Sequence[Tool]:
        """Return the tools, none before they were read."""
        return self._tools

    async def prepare(self, missing: str = "") -> None:
        """Read the tools if that was not done."""
        if self._loaded or (self.problem and not (missing and self._again)):
            return
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._run())
        await asyncio.wait([self._loading])

    async def close(self) -> None:
        """Give up reading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    @abstractmethod
    async def _load(self) -> tuple[Sequence[Tool], str]:
        """Return the tools, and what is wrong with the rest.

        Raises:
            NotLoaded: there are none.
        """

    async def _run(self) -> None:
        try:
            self._tools, problem = await self._load()
        except NotLoaded as error:
            self.problem = clean(f"{self._shown}: {error}", MAX_PROBLEM)
            return
        self.problem = clean(f"{self._shown}: {problem}", MAX_PROBLEM) if problem else ""
        self._loaded = True
        self.revision += 1
