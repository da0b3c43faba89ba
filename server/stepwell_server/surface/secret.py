"""The key that seals what clients carry between a question and its answer."""

import os
import secrets
from pathlib import Path

from stepwell.errors import ConfigError

FILE = "request-state.key"
KEY_BYTES = 32


def read_secret(home: Path) -> bytes:
    """Return the home's key; the first call makes it, readable by its owner only.

    Raises:
        ConfigError: it cannot be read or made, or is no key.
    """
    path = home / FILE
    try:
        key = path.read_bytes() if path.exists() else _make(path)
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be used: {error.strerror or error}") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is no key of {KEY_BYTES} bytes", hint="Delete it; a new one is made at the start.")
    return key


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        # A link, not a rename: of two processes that start at once, the first one's key stays.
        os.link(draft, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        draft.unlink()
    return key
