"""What models cost: a list with its date, and what the operator sets in its place."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Any, cast

from stepwell.ports.models import Price

PICO_PER_MILLION = 10**6  # picodollars a token for one dollar a million tokens
FIELDS = ("input", "output", "cache_read", "cache_write")
READ_SHARE, WRITE_SHARE = Decimal("0.1"), Decimal("1.25")
"""Of the input's price, where those of the cache are not given."""
SNAPSHOT = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


class PriceList:
    """Prices by name of the model; a dated snapshot costs what its model does."""

    def __init__(self, given: Mapping[str, Price] | None = None) -> None:
        listed = json.loads(resources.files("stepwell.models").joinpath("prices.json").read_text())
        self.date: str = listed["date"]
        self.given = dict(given or {})
        """Set by the operator; they win."""
        self._listed = {name: read_price(price) for name, price in listed["models"].items()}

    def find(self, *names: str) -> Price | None:
        """Return the price of a model that has these names; None if nobody knows it."""
        for prices in (self.given, self._listed):
            for name in names:
                if (price := prices.get(name) or prices.get(SNAPSHOT.sub("", name))) is not None:
                    return price
        return None

    def names(self) -> list[str]:
        """Return the models that have a price."""
        return list(dict.fromkeys([*self.given, *self._listed]))


def read_price(given: Mapping[str, Any]) -> Price:
    """Return the price of a table: dollars for a million tokens, `input` and `output` at least.

    Raises:
        ValueError: a name or a number is none.
    """
    known = {*FIELDS, "above", "long"}
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"a price has no {unknown[0]!r}; write {', '.join(FIELDS)} in dollars for a million tokens")
    if "input" not in given or "output" not in given:
        raise ValueError("a price has at least `input` and `output`, in dollars for a million tokens")
    shared = {
        "cache_read": _dollars(given["input"]) * READ_SHARE,
        "cache_write": _dollars(given["input"]) * WRITE_SHARE,
    }
    values = {name: int(_dollars(given.get(name, shared.get(name))) * PICO_PER_MILLION) for name in FIELDS}
    return Price(**values, above=_read_long(given))


def _read_long(given: Mapping[str, Any]) -> tuple[int, Price] | None:
    above, long = given.get("above"), given.get("long")
    if above is None and long is None:
        return None
    if type(above) is not int or above < 1 or not isinstance(long, Mapping) or "above" in long or "long" in long:
        raise ValueError("`above` (tokens of a prompt) and `long` (the price of longer ones) are given together")
    return above, read_price(cast("Mapping[str, Any]", long))


def _dollars(value: Any) -> Decimal:
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        dollars = Decimal(-1)
    if isinstance(value, bool) or not dollars.is_finite() or not 0 <= dollars <= 100_000:
        raise ValueError(f"a price is a number of dollars for a million tokens, not {value!r}")
    return dollars
