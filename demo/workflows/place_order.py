"""Take an order: validate it, charge it, let a person approve the shipment, confirm it."""

import json

from stepwell import WorkflowContext

SHOP = "https://shop.example.com"


def validate(items: list[dict]) -> float:
    if not items or any(item["quantity"] < 1 for item in items):
        raise ValueError("an order needs at least one of every item")
    return round(sum(item["quantity"] * item["price"] for item in items), 2)


def charge(order_id: str, amount: float) -> dict:
    bill = {"order": order_id, "amount": amount}
    return json.loads(tools.curl.post(url=f"{SHOP}/charges", json=bill))


def receipt(charge_id: str) -> dict:
    return json.loads(tools.curl.get(url=f"{SHOP}/receipts/{charge_id}"))


def confirm(order_id: str, charge_id: str) -> dict:
    paid = {"order": order_id, "charge": charge_id}
    return json.loads(tools.curl.post(url=f"{SHOP}/confirmations", json=paid))


async def run(ctx: WorkflowContext, order_id: str, items: list[dict]) -> dict:
    """Take an order.

    Args:
        order_id: The order's number
        items: What is ordered: name, quantity and price of each

    Returns:
        The charge, the receipt's number and the confirmation
    """
    amount = await ctx.step(validate, items)
    paid = await ctx.step(charge, order_id, amount)
    slip = await ctx.step(receipt, paid["id"])
    facts = {"amount": amount, "charge": paid["id"], "receipt": slip["number"]}
    await ctx.approve(f"Ship order {order_id}?", facts)
    sent = await ctx.step(confirm, order_id, paid["id"])
    return {"order": order_id, **facts, "sent": sent["id"]}
