"""How much a run may spend on models: the least of what its caller, its module and the operator say. 0 is no bound."""

from typing import Any

from stepwell.errors import InvalidArguments
from stepwell.model import JsonObject

MAX_USD = 1e6


def run_budget(given: float | None, declared: JsonObject, per_run: float | None) -> float | None:
    """Return the budget of a new run in dollars, None for no bound.

    Raises:
        InvalidArguments: what the caller gives is no amount.
    """
    if given is not None and not 0 <= given <= MAX_USD:
        raise InvalidArguments(f"budget_usd is a number of dollars from 0 (no bound) to {MAX_USD:,.0f}, not {given!r}")
    bounds = [bound for bound in (given, declared_budget(declared), per_run) if bound]
    return min(bounds) if bounds else None


def declared_budget(options: JsonObject) -> float | None:
    """Return what a module's options say."""
    found: Any = options.get("budget_usd")
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) and found > 0 else None
