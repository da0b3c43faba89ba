"""Checks of arguments, beside the event loop unless they are few."""

from collections.abc import Callable

from stepwell.model import JsonObject, Version
from stepwell.model.aside import LARGE, Aside, size_of

Check = Callable[[Version, JsonObject], JsonObject]


class ArgumentChecks:
    """The first check loads what it checks with, for a tenth of a second."""

    def __init__(self) -> None:
        self._aside = Aside()
        self._check: Check | None = None

    async def check(self, version: Version, arguments: JsonObject) -> JsonObject:
        """Return the arguments, checked against the version's schema.

        Raises:
            InvalidArguments: they do not fit.
        """
        if self._check is None:
            self._check = await self._aside.run(LARGE, _load)
        return await self._aside.run(size_of(arguments), self._check, version, arguments)


def _load() -> Check:
    from stepwell.catalog.validate import check_arguments  # noqa: PLC0415  jsonschema: a twentieth of the start

    return check_arguments
