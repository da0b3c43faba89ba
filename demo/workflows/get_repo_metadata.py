"""Get GitHub repository metadata."""

API = "https://api.github.com"


def run(owner: str, repo: str) -> dict:
    """Get GitHub repository metadata.

    Args:
        owner: Repository owner username
        repo: Repository name

    Returns:
        Name, stars, language and description
    """
    data = workflows.invoke("fetch_json", url=f"{API}/repos/{owner}/{repo}")
    return {
        "name": data["name"],
        "stars": data["stargazers_count"],
        "language": data["language"],
        "description": data.get("description", ""),
    }
