"""Take an order: validate it, charge it once, let a person approve the shipment, ship it."""

from stepwell import ApprovalDenied, FunctionContext, WorkflowContext, function


def validate(items: list[dict]) -> float:
    if not items:
        raise ValueError("an order needs at least one item")
    return round(sum(item["price"] * item["quantity"] for item in items), 2)


@function(timeout=30)
def charge(fn: FunctionContext, shop: str, order_id: str, amount: float) -> dict:
    # The key is the same in every attempt: a shop that knows it charges once, whatever happens in between.
    return post(f"{shop}/charges", {"order": order_id, "amount": amount}, {"Idempotency-Key": fn.idempotency_key})


def ship(shop: str, order_id: str) -> dict:
    return post(f"{shop}/shipments", {"order": order_id}, {})


def post(url: str, body: dict, headers: dict[str, str]) -> dict:
    answer = tools.http.request(method="POST", url=url, json=body, headers=headers)
    if answer["status"] >= 400:
        raise RuntimeError(f"{url} answered {answer['status']}: {answer['text'][:200]}")
    return answer["json"]


async def run(ctx: WorkflowContext, order_id: str, items: list[dict], shop: str) -> dict:
    """Take an order.

    Args:
        order_id: The order's number
        items: What is ordered: price and quantity of each
        shop: Address of the shop's API

    Returns:
        The amount, the charge, and the shipment or why there is none
    """
    amount = await ctx.step(validate, items)
    paid = await ctx.step(charge, shop, order_id, amount)
    result = {"order": order_id, "amount": amount, "charge": paid["id"]}
    try:
        await ctx.approve(f"Ship order {order_id} for {amount}?", result, timeout=7 * 24 * 3600)
    except ApprovalDenied as denied:
        return result | {"shipment": None, "reason": denied.reason}
    sent = await ctx.step(ship, shop, order_id)
    return result | {"shipment": sent["id"]}
