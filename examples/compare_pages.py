"""Fetch several pages at the same time and say which is the longest."""

from stepwell import WorkflowContext


async def run(ctx: WorkflowContext, urls: list[str]) -> dict:
    """Compare pages by their length.

    Args:
        urls: The pages' addresses

    Returns:
        The characters of each page, and the address of the longest
    """
    # A tool called by itself blocks; as a step it runs beside the others.
    pages = await ctx.parallel(*(ctx.step("fetch", tools.fetch, url=url, retries=1) for url in urls))
    lengths = {url: len(page) for url, page in zip(urls, pages, strict=True)}
    return {"lengths": lengths, "longest": max(urls, key=lambda url: lengths[url])}
