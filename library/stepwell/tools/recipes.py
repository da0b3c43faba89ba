"""What a `tools/*.yaml` can say of a command-line tool."""

import keyword
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stepwell.tools.sources import RESERVED

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_TIMEOUT_S = 3600
DEFAULT_RECIPE = "default"
"""The recipe of that name is the tool itself: `tools.<tool>(...)`."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _check_word(word: str) -> str:
    if "\x00" in word:
        raise ValueError("a word of a command cannot hold a NUL character")
    return word


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,47}", name) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} must be a lower-case Python name")
    return name


def _check_part(name: str) -> str:
    if _check_name(name) in RESERVED:
        raise ValueError(f"{name!r} is taken; a tool can have any other name than {', '.join(sorted(RESERVED))}")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
Part = Annotated[str, AfterValidator(_check_part)]
"""Of a tool's dotted name."""
Pattern = Annotated[str, AfterValidator(_check_pattern)]
Word = Annotated[str, AfterValidator(_check_word)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Argument(_Section):
    """One argument that workflows give."""

    type: Literal["string", "integer", "number", "boolean", "url", "headers", "json"] = "string"
    description: str = ""
    option: Annotated[Word, Field(pattern=r"^-")] | None = None
    """`--name`; without it the value is positional, after `--`."""
    style: Literal["equals", "separate"] = "equals"
    """`--name=value`, or two words: then a value that begins with `-` is refused unless `dash` allows it."""
    dash: Literal["refuse", "allow"] = "refuse"
    stdin: bool = False
    """The value is the command's input instead of a word."""
    repeat: bool = False
    """A list of values, the option once for each."""
    required: bool = False
    default: str | int | float | bool | None = None
    choices: list[str] | None = None
    pattern: Pattern | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: Annotated[int, Field(gt=0)] = 64 * 1024
    adds: list[Word] = []
    """Words that go along with the value."""
    headers: dict[str, str] = {}
    """Headers that go along unless the caller gives their like."""
    resolve_option: Annotated[Word, Field(pattern=r"^-")] | None = None
    """For a `url`: the option that takes `host:port:address`, so that the checked address is used."""

    @model_validator(mode="after")
    def _check(self) -> "Argument":
        if self.stdin and (self.option or self.repeat or self.type not in {"string", "json"}):
            raise ValueError("stdin goes with type string or json, without option and repeat")
        if self.type == "boolean" and not self.option:
            raise ValueError("a boolean needs an option")
        if self.type == "headers" and (not self.option or self.repeat):
            raise ValueError("headers need an option, without repeat")
        if self.type == "json" and self.repeat:
            raise ValueError("json goes without repeat")
        if self.choices is not None and self.type != "string":
            raise ValueError("choices go with type string")
        if self.resolve_option and (self.type != "url" or self.repeat):
            raise ValueError("resolve_option goes with type url, without repeat")
        return self


class Recipe(_Section):
    """One named use of the command."""

    description: str = ""
    fixed: list[Word] = []
    """Words after those of the file."""
    takes: list[str] = []
    """Arguments, in the order of positional ones."""
    presets: dict[str, Any] = {}
    """Values of arguments that workflows cannot change."""
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    returns: Literal["text", "json"] = "text"


class ExitRule(_Section):
    """What an exit code means."""

    code: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")] = "command_failed"
    retryable: bool = False
    retryable_if: Pattern | None = None
    """Found in the error output: may be tried again."""
    unknown: bool = False
    """The command may have had its effect."""


class CommandFile(_Section):
    """A command-line tool."""

    tool: Part
    command: Annotated[Word, Field(min_length=1)]
    """A name that is looked up in PATH, an absolute path, or `./x` beside the file."""
    recipes: Annotated[dict[Part, Recipe], Field(min_length=1)]
    description: str = ""
    install: str = ""
    """How to install the command."""
    fixed: list[Word] = []
    """Words before all others."""
    dashes: bool = True
    """Whether the command takes `--` before positional words; if not, those that begin with `-` are refused."""
    environment: list[str] = []
    """Variables that are passed on."""
    directory: Annotated[str, Field(pattern=r"^/")] | None = None
    """Working directory; a fresh temporary one by default."""
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 60.0
    output_bytes: Annotated[int, Field(gt=0, le=MAX_OUTPUT_BYTES)] = 1024 * 1024
    success: Annotated[list[int], Field(min_length=1)] = [0]
    exits: dict[int, ExitRule] = {}
    arguments: dict[Name, Argument] = {}
