"""Fetch a page and summarise it: its first paragraph and its number of words."""


def run(url: str) -> dict:
    """Fetch a page and summarise it.

    Args:
        url: The page's address

    Returns:
        The address, the first paragraph and the number of words
    """
    content = tools.fetch(url=url)
    paragraphs = [part.strip() for part in content.split("\n\n") if part.strip()]
    return {
        "url": url,
        "summary": paragraphs[0] if paragraphs else "",
        "word_count": len(content.split()),
    }
