"""What is accepted and has no meaning, or another one, here."""

import logging
from typing import Any

_LOGGER = logging.getLogger("stepwell.compat")


def ignore(what: str, why: str) -> None:
    """Say in the run's log that something is ignored."""
    _LOGGER.warning("%s is ignored: %s", what, why)


class BudgetExceededError(Exception):
    """Nothing raises it: a run whose budget is reached ends, and goes on where it was once it is resumed with more."""


class Store:
    """A store of another system; runs are kept by the server that executes them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        given = ", ".join(options) or f"{len(args)} arguments"
        if args or options:
            ignore(f"{type(self).__name__}({given})", "the server keeps runs in its own home")

    async def initialize(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
