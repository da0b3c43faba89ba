"""Download a document from a service that fails now and then."""

from stepwell import ToolError, WorkflowContext


async def run(ctx: WorkflowContext, url: str, first_delay: float = 1.0) -> dict:
    """Download a document, trying up to five times.

    Args:
        url: The document's address
        first_delay: Seconds before the second attempt; doubled before each further one

    Returns:
        The characters and the beginning of the document
    """
    text = await ctx.step(
        "download",
        tools.fetch,
        url=url,
        retries=4,
        retry_delay=first_delay,
        backoff="exponential",
        max_delay=60,
        timeout=30,
        retry_on=ToolError,
    )
    return {"characters": len(text), "begins": text[:80]}
