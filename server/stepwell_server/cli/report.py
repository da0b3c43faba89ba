"""What a command prints: its result on stdout, everything else on stderr; and the exit codes."""

import os
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import click

from stepwell.errors import RequestError, StepwellError
from stepwell.model import JsonObject
from stepwell_server.cli.hints import for_terminal
from stepwell_server.cli.text import block, to_json
from stepwell_server.home import find_home


class Exit(IntEnum):
    """What scripts can rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """The request cannot be served as it is: a wrong option, name or argument. Nothing was done."""
    WAITING = 3
    IN_DOUBT = 4
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that all commands share."""

    home: str | None = None
    output: Literal["text", "json"] = "text"

    @property
    def is_json(self) -> bool:
        """Whether stdout carries one JSON object and nothing else."""
        return self.output == "json"

    def put(self, data: JsonObject, text: str) -> None:
        """Print a command's result; `text` must be harmless already."""
        click.echo(to_json(data) if self.is_json else text)


def note(text: str = "") -> None:
    """Print a line for a person to stderr."""
    click.echo(text, err=True)


def report_error(invocation: Invocation, error: StepwellError) -> int:
    """Print an error and return the exit code for it."""
    code = Exit.USAGE if isinstance(error, RequestError) else Exit.FAILED
    described = error.describe()
    return report(invocation, described | {"hint": for_terminal(described["hint"])}, code)


def report_usage(invocation: Invocation, error: click.ClickException) -> int:
    """Print what is wrong with the command line."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"See `{context.command_path} --help`." if context else "See `stepwell --help`."
    message = error.format_message()
    described = {"type": "UsageError", "code": "usage", "message": message, "hint": hint}
    return report(invocation, described, Exit.USAGE)


def report_crash(invocation: Invocation, error: BaseException) -> int:
    """Print that something unforeseen went wrong and where its traceback was written."""
    path = _write_traceback(invocation, error)
    described = {
        "type": "InternalError",
        "code": "internal",
        "message": f"Stepwell itself failed: {type(error).__name__}: {str(error)[:300]}",
        "hint": f"The traceback is in {path}." if path else "The traceback could not be written.",
    }
    return report(invocation, described, Exit.FAILED)


def report(invocation: Invocation, described: JsonObject, code: int) -> int:
    """Print `{type, code, message, hint}` and return `code`."""
    if invocation.is_json:
        click.echo(to_json({"error": described}))
        return code
    first, *rest = block(str(described["message"])).split("\n")
    note(click.style("Error: ", fg="red", bold=True) + first)
    for line in rest:
        note(f"       {line}")
    if hint := described.get("hint"):
        note(block(str(hint), "       "))
    return code


def drop_stdout() -> None:
    """Send what is still buffered nowhere: the reader of the pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_traceback(invocation: Invocation, error: BaseException) -> Path | None:
    text = "".join(traceback.format_exception(error))
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in _log_folders(invocation):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        except (OSError, StepwellError):
            continue
        return path
    return None


def _log_folders(invocation: Invocation) -> list[Path]:
    fallback = Path(tempfile.gettempdir())
    try:
        return [find_home(invocation.home) / "logs", fallback]
    except StepwellError:
        return [fallback]
