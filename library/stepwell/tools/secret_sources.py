"""Where the values of secrets are read from."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from stepwell.tools.redaction import MIN_LENGTH

MAX_BYTES = 64 * 1024
COMMAND_S = 30.0


class Unreadable(Exception):
    """A secret's value cannot be had; the text says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A variable of the server's environment."""

    variable: str


@dataclass(frozen=True, slots=True)
class FromFile:
    """A whole file."""

    path: Path


@dataclass(frozen=True, slots=True)
class FromCommand:
    """What a program of the operator's prints."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromKeyring:
    """An entry of the system's keyring."""

    service: str
    user: str


Source: TypeAlias = FromEnvironment | FromFile | FromCommand | FromKeyring


async def read_secret(source: Source) -> str:
    """Return a secret's value, without the line end behind it.

    Raises:
        Unreadable: it is not there, or cannot be used as a secret.
    """
    match source:
        case FromEnvironment(variable):
            value = os.environ.get(variable)
            if value is None:
                raise Unreadable(f"the environment variable {variable} is not set")
        case FromFile(path):
            value = await asyncio.to_thread(_read_file, path)
        case FromCommand(words):
            value = await _run(words)
        case FromKeyring(service, user):
            value = await asyncio.to_thread(_ask_keyring, service, user)
    value = value.removesuffix("\n").removesuffix("\r")
    if len(value) < MIN_LENGTH:
        raise Unreadable(f"it has fewer than {MIN_LENGTH} characters, too few to be found and hidden in texts")
    return value


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _text(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from error


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Unreadable(f"it is longer than {MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unreadable("it is no UTF-8 text") from None


async def _run(words: tuple[str, ...]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    except OSError as error:
        raise Unreadable(f"{words[0]} cannot be started: {error.strerror or error}") from error
    assert process.stdout is not None
    try:
        async with asyncio.timeout(COMMAND_S):
            data = await process.stdout.read(MAX_BYTES + 1)
            while len(data) <= MAX_BYTES and (more := await process.stdout.read(MAX_BYTES + 1)):
                data += more
            if len(data) <= MAX_BYTES:
                await process.wait()
    except TimeoutError:
        raise Unreadable(f"{words[0]} did not end within {COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode and len(data) <= MAX_BYTES:
        raise Unreadable(f"{words[0]} ended with the exit code {process.returncode}")
    return _text(data)


def _ask_keyring(service: str, user: str) -> str:
    try:
        import keyring  # noqa: PLC0415  optional, and it looks for a desktop
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ImportError:
        raise Unreadable("the package keyring is not installed: pip install 'stepwell[keyring]'") from None
    try:
        value = keyring.get_password(service, user)
    except KeyringError as error:
        raise Unreadable(f"the keyring does not answer: {error}") from error
    if value is None:
        raise Unreadable(f"the keyring has no entry {service!r} for {user!r}")
    return value
