"""Summarise several pages with the workflow `page_summary` and keep the report as an artifact."""


def run(urls: list[str], title: str = "Report") -> dict:
    """Summarise several pages.

    Args:
        urls: The pages' addresses
        title: Head of the report

    Returns:
        The number of pages and words, and the artifact's name
    """
    summaries = [workflows.invoke("page_summary", url=url) for url in urls]
    lines = [f"# {title}", ""]
    for page in summaries:
        lines += [f"## {page['url']}", "", page["summary"], ""]
    artifacts.save("report", "\n".join(lines))
    return {
        "pages": len(summaries),
        "words": sum(page["word_count"] for page in summaries),
        "artifact": "report",
    }
