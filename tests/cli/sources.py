"""Workflows that the tests store."""

GREET = '''
"""Greet somebody."""

def run(
    name: str, times: int = 1, loud: bool = False, tags: list[str] | None = None, extra: dict | None = None
) -> dict:
    """Greet.

    Args:
        name: Who.
    """
    text = " ".join([f"Hello {name}"] * times)
    return {"text": text.upper() if loud else text, "tags": tags, "extra": extra}
'''

ORDER = '''
"""Charge, ask for a language, let a person approve, confirm."""
from stepwell import WorkflowContext

def charge(amount: int) -> dict:
    print("charging", amount)
    return {"charged": amount}

def confirm(paid: dict, language: str) -> str:
    return f"confirmed in {language}"

async def run(ctx: WorkflowContext, amount: int) -> dict:
    paid = await ctx.step("charge", charge, amount)
    languages = [{"id": "en", "label": "English"}, {"id": "de", "label": "Deutsch"}]
    language = await ctx.wait_for_user("Which language?", input_type="select", options=languages)
    done = await ctx.step("confirm", confirm, paid, language, requires_approval=True)
    return {"paid": paid, "done": done}
'''

GATE = '''
"""One gate."""

async def run(ctx, what: str = "it") -> str:
    await ctx.approve(f"Do {what}?")
    return f"did {what}"
'''

QUESTIONS = '''
"""Text and several choices."""

async def run(ctx) -> dict:
    name = await ctx.wait_for_user("Your name?")
    kinds = await ctx.wait_for_user("Which?", input_type="multiselect", options=["a", "b", "c"])
    return {"name": name, "kinds": kinds}
'''

HOSTILE = '''
"""Says things to a terminal."""

async def run(ctx) -> str:
    print("log \\x1b[2J")
    await ctx.approve("Do [bold]it\\x1b[2J\\u202e?")
    return "out \\x1b]0;title\\x07 [red]x[/red] \\x9b31m"
'''
