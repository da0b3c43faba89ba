"""Total a shopping list, with the prices as exact decimals."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


@dataclass
class Item:
    name: str
    price: Decimal
    count: int = 1


def run(items: list[Item], currency: Literal["EUR", "USD"] = "EUR", discount: Decimal | None = None) -> dict:
    """Total a shopping list.

    Args:
        items: What is bought
        currency: Shown with the total
        discount: Part that is taken off, 0 to 1

    Returns:
        The total and its currency
    """
    total = sum((item.price * item.count for item in items), Decimal(0))
    if discount is not None:
        total *= 1 - discount
    return {"total": total.quantize(Decimal("0.01")), "currency": currency}
