"""A stored workflow and its versions."""

from dataclasses import dataclass, field
from typing import Literal

from stepwell.model.json import Json, JsonObject
from stepwell.model.packages import Lock
from stepwell.model.usage import Usage


@dataclass(frozen=True, slots=True)
class Warn:
    """Something in a source that works, or will fail at run time, and should be mended."""

    code: str
    """Stable: `missing_type_hint`, `bare_except`, `no_network`, ..."""
    message: str
    """What is wrong and what to write instead."""
    line: int | None = None
    """1-based line of the source."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of a workflow."""

    name: str
    schema: JsonObject
    """JSON Schema of the value; `{}` accepts anything."""
    required: bool
    default: Json = None
    """The literal default; meaningful only where `has_default`."""
    has_default: bool = False
    annotation: str = ""
    """The source text of the type hint, for signatures shown to people."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable source, with all that was read from it without running it."""

    hash: str
    """Hex SHA-256 over source and entry; the first 12 digits are shown to people."""
    source: str
    """As stored: dedented, without Markdown fences."""
    entry: str
    """The entry's name in the module."""
    entry_kind: Literal["function", "workflow_object", "script"]
    is_async: bool
    parameters: tuple[Parameter, ...]
    schema: JsonObject
    """JSON Schema (2020-12) of the arguments object."""
    signature: str
    """`name(url: str, depth: int = 2) -> dict`, one line."""
    returns: str
    """The return hint's text, else empty."""
    returns_description: str = ""
    context_parameters: tuple[str, ...] = ()
    """Parameters that the engine fills with the context."""
    description: str = ""
    """From the docstrings; a description given at create wins over it."""
    manifest: JsonObject = field(default_factory=dict[str, Json])
    """`{"tools": [...], "workflows": [...], "steps": [...]}` used by the source, as far as can be read;
    `secrets` that it names, `dependencies` (as written) and `requires_python` where it declares them."""
    options: JsonObject = field(default_factory=dict[str, Json])
    """The literal `options = dict(...)` of the module."""
    warnings: tuple[Warn, ...] = ()
    lock: Lock | None = None
    """The files of the packages that it runs with, found when it was stored."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A name with its current version."""

    name: str
    description: str
    tags: tuple[str, ...]
    intents: tuple[str, ...]
    version: Version
    created_at: float
    """Unix seconds at which this version became current."""
    origin: str
    """`client`, `cli`, `session`, `run:<id>` or `file:<path>`."""
    pinned: bool = False
    versions: tuple[str, ...] = ()
    """Hashes of all versions of the name, newest first."""
    usage: Usage = field(default_factory=Usage)
