"""Adding a server to a client's configuration file without losing anything that is in it."""

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from stepwell.errors import Conflict
from stepwell.model import JsonObject
from stepwell_server.cli.clients import Client

MAX_BYTES = 32 * 1024 * 1024  # a client's state file can be large; more is no configuration

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def read_text(path: Path) -> str:
    """Return the file's text; an absent file is empty.

    Raises:
        Conflict: it cannot be read as text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise Conflict(f"{path} is larger than a configuration should be.", hint="Choose the file with --path FILE.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Conflict(f"{path} is no UTF-8 text.", hint="Mend it, or choose another file with --path FILE.") from error


def merge(client: Client, name: str, entry: JsonObject, text: str, path: Path) -> str:
    """Return the file's text with the server in it; what else is there stays.

    Raises:
        Conflict: the text does not parse or is built otherwise; the hint carries what to paste by hand.
    """
    change = _merge_toml if client.format == "toml" else _merge_json
    try:
        return change(client, name, entry, text)
    except (ValueError, RecursionError) as error:
        raise Conflict(
            f"{path} was left as it is: {error}",
            hint=f"Add this by hand under {client.key!r}, or choose another file with --path FILE:\n"
            + snippet(client, name, entry),
        ) from error


def snippet(client: Client, name: str, entry: JsonObject) -> str:
    """Return the entry alone, as a file would hold it."""
    if client.format == "toml":
        return _toml_table(client, name, entry)
    return json.dumps({client.key: {name: entry}}, indent=2, ensure_ascii=False)


def write(path: Path, text: str) -> Path | None:
    """Replace the file in one step, keeping what it was beside it; return that copy's path.

    Raises:
        Conflict: the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link to a dotfiles folder stays a link
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = _back_up(target)
        mode = target.stat().st_mode & 0o777 if backup else 0o600
        _replace(target, text, mode)
    except OSError as error:
        raise Conflict(
            f"{path} cannot be written: {error.strerror or error}", hint="Choose the file with --path FILE."
        ) from error
    return backup


def _merge_json(client: Client, name: str, entry: JsonObject, text: str) -> str:
    document: Any = json.loads(text, object_pairs_hook=_unique) if text.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - a wrong file, not a wrong call
    servers: Any = document.setdefault(client.key, {})  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(servers, dict):
        raise ValueError(f"{client.key!r} in it is no object")  # noqa: TRY004
    present: Any = servers.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    servers[name] = present | entry if isinstance(present, dict) else entry
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _merge_toml(client: Client, name: str, entry: JsonObject, text: str) -> str:
    before = tomllib.loads(text)
    servers: Any = before.get(client.key, {})
    if not isinstance(servers, dict):
        raise ValueError(f"{client.key!r} in it is no table")  # noqa: TRY004
    present: Any = servers.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if present is None:
        table = _toml_table(client, name, entry)
        merged = f"{text.rstrip()}\n\n{table}" if text.strip() else table
        wanted = entry
    else:
        wanted: JsonObject = present | entry
        own = {key: value for key, value in wanted.items() if not isinstance(value, dict)}
        merged = _replace_table(text, f"{client.key}.{name}", _toml_table(client, name, own))
    # The text was edited, not generated: what a parser makes of it says whether the edit did what it should.
    if tomllib.loads(merged) != before | {client.key: servers | {name: wanted}}:
        raise ValueError("it is written in a way that cannot be edited safely")
    return merged


def _replace_table(text: str, header: str, table: str) -> str:
    found = re.search(rf"^[ \t]*\[[ \t]*{re.escape(header)}[ \t]*\][^\n]*\n?", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"[{header}] in it is written in a way that cannot be edited safely")
    following = _TABLE.search(text, found.end())
    rest = text[following.start() :] if following else ""
    return text[: found.start()] + table + ("\n" + rest if rest else "")


def _toml_table(client: Client, name: str, entry: JsonObject) -> str:
    # JSON's strings, numbers, booleans and lists of them are TOML too; DEL is the one character that is not.
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f") for key, value in entry.items()
    ]
    return "\n".join([f"[{client.key}.{name}]", *lines]) + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("it names a key twice, of which one would be lost")
    return document


def _back_up(target: Path) -> Path | None:
    try:
        data = target.read_bytes()
    except FileNotFoundError:
        return None
    for number in range(1, 1000):
        path = target.with_name(f"{target.name}.bak{number if number > 1 else ''}")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return path
    raise OSError("there are too many backups beside it")


def _replace(target: Path, text: str, mode: int) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
