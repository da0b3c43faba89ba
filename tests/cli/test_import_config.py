"""`stepwell import-config`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.processes import Stepwell
from stepwell_server.settings import load_settings

CLAUDE = {
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "server-filesystem", "/data"], "env": {"A": 'b"c', "T": "${TOKEN}"}},
        "my tracker": {
            "type": "http",
            "url": "https://tracker.example.org/mcp",
            "headers": {"X": "1"},
            "timeout": 5000,
        },
        "old": {"type": "sse", "url": "https://old.example.org/sse"},
        "stepwell": {"command": "/opt/bin/stepwell", "args": ["serve"]},
        "both": {"command": "x", "url": "https://a.example.org"},
        "wrong": 5,
        "cursor-one": {"command": "x", "autoApprove": ["a"], "disabled": True},
    },
    "theme": "dark",
}
VSCODE = """{
    // the team's servers
    "inputs": [{"id": "api-key", "type": "promptString", "password": true}],
    "servers": {
        "search": {
            "type": "stdio", /* local */ "command": "${workspaceFolder}/bin/search",
            "args": ["--url", "http://x//y", "${input:api-key}"],
            "env": {"HOME_DIR": "${userHome}", "E": "${env:EDITOR}",},
        },
    },
}
"""


def run(home: Path, *words: str) -> tuple[int, Any]:
    result = Stepwell(home).here(*words, "--output", "json")
    return result.code, json.loads(result.out or result.err)


def test_names_are_shown_as_workflows_write_them(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    file = tmp_path / "claude.json"
    file.write_text(json.dumps(CLAUDE))
    said = Stepwell(tmp_path / "home").here("import-config", str(file)).out
    assert "added my tracker: tools.my_tracker.<tool>(...)" in said


def test_servers_of_claude_and_cursor_are_taken_over(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "claude.json"
    home.mkdir()
    (home / "stepwell.toml").write_text('# mine\n[mcp_servers.files]\ncommand = "own"\n')
    file.write_text(json.dumps(CLAUDE))
    code, said = run(home, "import-config", str(file))
    assert code == 0, said
    assert said["added"] == ["my tracker", "cursor-one"]
    assert said["skipped"] == {
        "old": "its transport, HTTP with SSE, was replaced by Streamable HTTP and is not supported",
        "stepwell": "it is Stepwell itself",
        "both": 'give either command = "..." or url = "https://..."',
        "wrong": "it is no object",
        "files": "stepwell.toml has a server of that name",
    }
    assert said["notes"] == ["cursor-one: autoApprove is not taken over"]
    text = (home / "stepwell.toml").read_text()
    assert text.startswith('# mine\n[mcp_servers.files]\ncommand = "own"\n')
    settings = load_settings(home / "stepwell.toml")
    tracker = settings.mcp_servers["my tracker"].server("my tracker")
    assert (tracker.url, tracker.headers, tracker.timeout_s) == ("https://tracker.example.org/mcp", {"X": "1"}, 5.0)
    assert settings.mcp_servers["cursor-one"].disabled
    assert run(home, "import-config", str(file))[1]["added"] == []


def test_servers_of_vs_code_are_taken_over_with_their_variables(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "project" / ".vscode" / "mcp.json"
    file.parent.mkdir(parents=True)
    file.write_text(VSCODE)
    code, said = run(home, "import-config", "--print", str(file))
    assert (code, (home / "stepwell.toml").exists()) == (0, False)
    code, said = run(home, "import-config", str(file))
    assert code == 0, said
    (entry,) = tomllib.loads((home / "stepwell.toml").read_text())["mcp_servers"].values()
    assert entry == {
        "command": f"{tmp_path}/project/bin/search",
        "args": ["--url", "http://x//y", "${API_KEY}"],
        "env": {"HOME_DIR": str(Path.home()), "E": "${EDITOR}"},
    }
    assert said["notes"] == [
        "search: the client asks for api-key; set the environment variable API_KEY for Stepwell instead"
    ]


@pytest.mark.parametrize(
    ("text", "toml", "message"),
    [
        ("{", "", "is no JSON"),
        ("[]", "", "names no MCP servers"),
        ('{"mcpServers": []}', "", "names no MCP servers"),
        ('{"mcpServers": {"a": {"command": "x"}}}', "[", "is no valid TOML, so nothing was added"),
        ('{"mcpServers": {"a": {"command": "x"}}}', "[http]\nwrong = 1\n", "line 2: http.wrong: unknown key"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(tmp_path: Path, text: str, toml: str, message: str) -> None:
    file = tmp_path / "client.json"
    file.write_text(text)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stepwell.toml").write_text(toml)
    code, said = run(tmp_path / "home", "import-config", str(file))
    assert code != 0
    assert message in said["error"]["message"]
    assert (tmp_path / "home" / "stepwell.toml").read_text() == toml
