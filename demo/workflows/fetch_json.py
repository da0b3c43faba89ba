"""Fetch and parse JSON from a URL."""

import json


def run(url: str, headers: dict[str, str] | None = None) -> dict:
    """Fetch JSON data from a URL.

    Args:
        url: The URL to fetch
        headers: Optional HTTP headers

    Returns:
        Parsed JSON response

    Raises:
        RuntimeError: If the response is not valid JSON
    """
    response = tools.curl.get(url=url, headers=headers or {})
    try:
        return json.loads(response)
    except json.JSONDecodeError as error:
        raise RuntimeError(f"Invalid JSON from {url}: {error}") from error
