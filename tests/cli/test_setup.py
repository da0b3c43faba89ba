"""Writing MCP clients' configuration."""

import json
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.processes import Stepwell
from stepwell_server.cli.clients import CLIENTS, config_path

LINUX = {
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "claude-code": ".claude.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
}


def read(path: Path) -> Any:
    return tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_gets_an_absolute_command_that_starts(stepwell: Stepwell, tmp_path: Path, client: str) -> None:
    file = tmp_path / "config" / ("c.toml" if client == "codex" else "c.json")

    done = stepwell.json("setup", client, "--path", str(file))

    servers = read(file)[CLIENTS[client].key]
    entry = servers["stepwell"]
    assert entry == done["entry"]
    assert Path(entry["command"]).is_absolute()
    assert shutil.which(entry["command"])
    assert entry["args"][-3:] == ["serve", "--home", str(stepwell.home)]
    assert entry.get("type") == ("stdio" if client in ("claude-code", "vscode") else None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("client", CLIENTS)
def test_the_files_are_where_the_clients_look(client: str) -> None:
    user = Path("/home/ada")

    assert config_path(client, "linux", {}, user) == user / LINUX[client]
    if client in ("claude-desktop", "vscode"):
        assert "Library/Application Support" in str(config_path(client, "darwin", {}, user))
        assert str(config_path(client, "win32", {"APPDATA": "/appdata"}, user)).startswith("/appdata")


def test_without_a_path_the_users_own_file_is_written(stepwell: Stepwell, tmp_path: Path) -> None:
    done = stepwell("setup", "cursor")

    assert done.code == 0
    assert "stepwell" in read(tmp_path / ".cursor" / "mcp.json")["mcpServers"]
    assert "Restart it" in done.out


def test_what_is_in_the_file_stays_and_a_copy_is_kept(stepwell: Stepwell, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    before = {"theme": "dark", "mcpServers": {"other": {"command": "x"}, "stepwell": {"env": {"A": "1"}}}}
    file.write_text(json.dumps(before))
    file.chmod(0o640)

    first = stepwell.json("setup", "claude-desktop", "--path", str(file))
    second = stepwell.json("setup", "claude-desktop", "--path", str(file))

    after = read(file)
    assert after["theme"] == "dark"
    assert after["mcpServers"]["other"] == {"command": "x"}
    assert after["mcpServers"]["stepwell"]["env"] == {"A": "1"}
    assert json.loads(Path(first["backup"]).read_text()) == before
    assert (second["changed"], second["backup"]) == (False, None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_toml_file_keeps_its_comments_and_other_tables(stepwell: Stepwell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '# mine\nmodel = "m"\n\n[mcp_servers.stepwell]\ncommand = "old"\nargs = ["x"]\nstartup_timeout_sec = 30\n\n'
        '[mcp_servers.stepwell.env]\nA = "1"\n\n[mcp_servers.other]\ncommand = "o"\n'
    )

    stepwell.json("setup", "codex", "--path", str(file))

    assert file.read_text().startswith("# mine\n")
    after = read(file)
    assert after["model"] == "m"
    assert after["mcp_servers"]["other"] == {"command": "o"}
    entry = after["mcp_servers"]["stepwell"]
    assert (entry["startup_timeout_sec"], entry["env"]) == (30, {"A": "1"})
    assert entry["args"][-3] == "serve"


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("vscode", '{\n  // my servers\n  "servers": {}\n}\n'),
        ("claude-desktop", '{"mcpServers": {},}'),
        ("claude-desktop", '{"mcpServers": []}'),
        ("claude-desktop", "[1]"),
        ("claude-desktop", '{"mcpServers": {"a": 1, "a": 2}}'),
        ("claude-desktop", "[" * 100_000),
        ("codex", "= nonsense"),
        ("codex", 'mcp_servers = "x"'),
        ("codex", 'mcp_servers = {stepwell = {command = "x"}}'),
        ("codex", 'mcp_servers = {other = {command = "x"}}'),
    ],
)
def test_a_file_that_cannot_be_merged_is_left_alone_and_the_snippet_shown(
    stepwell: Stepwell, tmp_path: Path, client: str, text: str
) -> None:
    file = tmp_path / "c"
    file.write_text(text)

    done = stepwell.here("setup", client, "--path", str(file))

    assert done.code == 2
    assert file.read_text() == text
    assert "by hand" in done.err
    assert "serve" in done.err
    assert list(tmp_path.glob("c.bak*")) == []


def test_print_writes_nothing(stepwell: Stepwell, tmp_path: Path) -> None:
    file = tmp_path / "c.json"

    shown = stepwell("setup", "vscode", "--path", str(file), "--print")

    assert '"servers"' in shown.out
    assert not file.exists()


def test_a_link_to_the_file_stays_a_link(stepwell: Stepwell, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text("{}")
    link = tmp_path / "c.json"
    link.symlink_to(target)

    stepwell.json("setup", "gemini", "--path", str(link))

    assert link.is_symlink()
    assert "stepwell" in read(target)["mcpServers"]


def test_the_checkout_has_a_configuration_that_starts_its_server() -> None:
    root = Path(__file__).parents[2]

    entry = json.loads((root / "mcp.json").read_text())["mcpServers"]["stepwell"]

    assert not Path(entry["command"]).is_absolute()
    assert entry["args"] == ["serve"]
