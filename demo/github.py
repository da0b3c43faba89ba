"""A stand-in for api.github.com: `GET /repos/{owner}/{repo}` with the members that GitHub's answers have."""

import threading
from typing import Any

from web import Answer

REPOSITORIES: dict[str, dict[str, Any]] = {
    "pallets/flask": {
        "id": 596892,
        "language": "Python",
        "stargazers_count": 70912,
        "forks_count": 16604,
        "license": {"key": "bsd-3-clause", "name": "BSD 3-Clause License", "spdx_id": "BSD-3-Clause"},
        "description": "The Python micro framework for building web applications.",
        "topics": ["flask", "jinja", "pallets", "python", "web-framework", "werkzeug", "wsgi"],
    },
    "redis/redis": {
        "id": 108110,
        "language": "C",
        "stargazers_count": 71544,
        "forks_count": 24288,
        "license": {"key": "other", "name": "Other", "spdx_id": "NOASSERTION"},
        "description": "For developers, who are building real-time data-driven applications, Redis is the cache.",
        "topics": ["cache", "database", "in-memory", "key-value", "nosql", "redis"],
    },
    "encode/httpx": {
        "id": 180013296,
        "language": "Python",
        "stargazers_count": 14853,
        "forks_count": 987,
        "license": {"key": "bsd-3-clause", "name": "BSD 3-Clause License", "spdx_id": "BSD-3-Clause"},
        "description": "A next generation HTTP client for Python.",
        "topics": ["asyncio", "http", "python", "trio"],
    },
}


class GitHub:
    """Answers, and counts what it was asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """Return a repository, or GitHub's form of a 404."""
        with self._lock:
            self.requests.append(f"{method} {path}")
        full_name = path.removeprefix("/repos/")
        known = REPOSITORIES.get(full_name)
        if method != "GET" or known is None:
            return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}
        return 200, _repository(full_name, known)


def _repository(full_name: str, known: dict[str, Any]) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    return {
        "name": name,
        "full_name": full_name,
        "private": False,
        "owner": {"login": owner, "type": "Organization", "url": f"https://api.github.com/users/{owner}"},
        "html_url": f"https://github.com/{full_name}",
        "fork": False,
        "url": f"https://api.github.com/repos/{full_name}",
        "watchers_count": known["stargazers_count"],
        "open_issues_count": 7,
        "archived": False,
        "visibility": "public",
        "default_branch": "main",
    } | known
