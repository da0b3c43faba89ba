"""What the operator says of an HTTP service."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OpenApi:
    """A service, as the operator says."""

    name: str
    document: str
    """A path or an http(s) address."""
    base_url: str = ""
    """Where the service is; what the document says unless given, and then subject to the list of hosts."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 60.0
    auth: Mapping[str, str] = field(default_factory=dict[str, str])
    """By security scheme of the document: a key, a token, or `user:password` for basic."""
