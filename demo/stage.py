"""What all parts of the demo share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import Agent
from claims import check
from github import GitHub
from shop import Shop
from transcript import Transcript

WORKFLOWS = Path(__file__).parent / "workflows"
WITHOUT_CURL = """

def http_get(url, headers=None):
    if not headers:
        return tools.fetch(url=url)
    return tools.http.request(method="GET", url=url, headers=headers)["text"]


def http_post(url, json):
    return tools.http.request(method="POST", url=url, json=json)["text"]
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """The transcript, the home, and the world outside."""

    transcript: Transcript
    home: Path
    github: GitHub
    shop: Shop
    github_url: str
    shop_url: str
    live: bool
    curl: bool

    def claim(self, text: str, found: Any, wanted: Any) -> None:
        """Check something, then print it.

        Raises:
            NotAsClaimed: it is not so.
        """
        check(text, found, wanted)
        self.transcript.claim(text)

    async def call(self, agent: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
        """Print a call and make it."""
        self.transcript.call(tool, arguments)
        return await agent.call(tool, **arguments)

    def source(self, name: str) -> str:
        """Return a workflow's source, with the addresses of this demo's servers in it."""
        text = (WORKFLOWS / f"{name}.py").read_text(encoding="utf-8")
        text = text.replace("https://api.github.com", self.github_url).replace(
            "https://shop.example.com", self.shop_url
        )
        return text if self.curl else text.replace("tools.curl.", "http_") + WITHOUT_CURL
