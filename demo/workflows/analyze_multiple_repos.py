"""Analyze multiple GitHub repositories."""


def run(repos: list[str]) -> dict:
    """Analyze multiple GitHub repositories.

    Args:
        repos: Names like "owner/repo"

    Returns:
        The total of stars, the languages, and a summary of each repository
    """
    summaries = []
    for repo in repos:
        owner, name = repo.split("/")
        summaries.append(workflows.invoke("get_repo_metadata", owner=owner, repo=name))
    return {
        "total_repos": len(summaries),
        "total_stars": sum(summary["stars"] for summary in summaries),
        "languages": sorted({summary["language"] for summary in summaries if summary["language"]}),
        "repos": summaries,
    }
