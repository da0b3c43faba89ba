"""Ask a person for the day, the people and the room of a meeting."""

from stepwell import WorkflowContext


async def run(ctx: WorkflowContext, subject: str, days: list[str], people: list[str]) -> dict:
    """Plan a meeting.

    Args:
        subject: What it is about
        days: Days that are possible
        people: Who may be invited

    Returns:
        The meeting as it was decided
    """
    day = await ctx.wait_for_user(f"{subject}: which day?", input_type="select", options=choices(days))
    invited = await ctx.wait_for_user("Who is invited?", input_type="multiselect", options=choices(people))
    room = await ctx.wait_for_user("Which room? Leave it out if it is online.", skippable=True)
    return {"subject": subject, "day": day, "invited": invited, "room": room or "online"}


def choices(values: list[str]) -> list[dict]:
    return [{"id": value, "label": value} for value in values]
