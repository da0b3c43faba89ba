"""Fetch a page, shorten it, have it approved, and save it: one decorated function after the other."""

from stepwell import Workflow, WorkflowContext

wf = Workflow("publish_article")


@wf.step("research", retries=3, retry_delay=2.0, timeout=30)
def research(url: str, words: int = 50) -> dict:
    """Fetch the page that the article is made from.

    Args:
        url: Address of the page
        words: The most words of the article
    """
    return {"url": url, "words": tools.fetch(url=url).split()[:words]}


@wf.step("draft")
def draft(research_output: dict) -> str:
    """Write the text."""
    return f"{' '.join(research_output['words'])}\n\nSource: {research_output['url']}"


@wf.step("review")
async def review(text: str, ctx: WorkflowContext) -> str:
    """Wait for a person, and count the articles of the session."""
    await ctx.approve("Publish this?", text)
    ctx.session.state.set("published", await ctx.session.state.get("published", 0) + 1)
    return text


@wf.step("publish")
def publish(text: str) -> dict:
    """Save the article."""
    artifacts.save("article", text)
    return {"artifact": "article", "characters": len(text)}
