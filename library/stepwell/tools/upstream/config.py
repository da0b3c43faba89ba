"""How an upstream MCP server is reached, as the operator says."""

import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Reveal: TypeAlias = Callable[[str, str, tuple[str, ...]], Awaitable[str]]
"""Returns a configured text with the secrets that it names; takes it, the namespace of the source that needs it and
the hosts to which it goes, if they are known. Raises ToolFailure."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server that is started as a command, or one behind a URL."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beside what every server gets: HOME, LOGNAME, PATH, SHELL, TERM and USER of this process."""
    cwd: Path | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 60.0
    """Of one call; the time in which a person is asked does not count."""
    start_s: float = 30.0
    """From the start of the command to its first answer."""

    @property
    def digest(self) -> str:
        """What its listing is kept under: another command or URL may be another server."""
        known = [self.command, *self.args, str(self.cwd), self.url]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    @property
    def shown(self) -> str:
        """Where it is, without what may be secret."""
        return self.url.split("?", 1)[0] if self.url else self.command


class MissingVariable(Exception):
    """A text names an environment variable that is not set."""


def expand(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the text with `${NAME}` and `${NAME:-default}` replaced from the environment.

    Raises:
        MissingVariable: one is not set and has no default.
    """
    known = os.environ if environment is None else environment

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if (set_to := known.get(name)) is not None:
            return set_to
        if default is None:
            raise MissingVariable(f"the environment variable {name} is not set")
        return default

    return _VARIABLE.sub(value, text)
