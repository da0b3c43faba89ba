"""Wait for an invoice to be paid, and remind the customer until it is."""

from stepwell import WorkflowContext


async def run(ctx: WorkflowContext, invoice: str, reminders: int = 3, every: float = 7 * 24 * 3600) -> dict:
    """Wait for a payment.

    Whoever learns of it sends the event `paid.<invoice>`. A waiting run needs no process, and survives restarts.

    Args:
        invoice: The invoice's number
        reminders: How often the customer is reminded
        every: Seconds between reminders

    Returns:
        Whether it was paid, and how many reminders it took
    """
    for sent in range(reminders + 1):
        try:
            payment = await ctx.wait_for_event(f"paid.{invoice}", timeout=every)
        except TimeoutError:
            ctx.log("not paid yet", invoice=invoice, reminder=sent + 1)
            continue
        return {"invoice": invoice, "paid": True, "amount": payment["amount"], "reminders": sent}
    return ctx.terminate(f"invoice {invoice} was not paid after {reminders} reminders")
