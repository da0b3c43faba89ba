"""The official Inspector's command line lists and calls the tools from the checkout's own `mcp.json`."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("inspector")  # its fixture is made once

ROOT = Path(__file__).parents[2]
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
NODE = "node@22"  # the Inspector does not run on older ones
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepwell-tests" / "inspector-2.12.0"
LAUNCHER = CACHE / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
ERA = ["--protocol-era", "modern"]


@pytest.fixture(scope="module")
def node() -> Path:
    """Node of the version that the Inspector needs, both installed once per machine."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    binary = CACHE / "node_modules/node/bin/node"
    if not (binary.exists() and LAUNCHER.exists()):
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"name": "inspector", "private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", NODE, INSPECTOR]
        subprocess.run(command, cwd=CACHE, check=True, capture_output=True, timeout=300)
        subprocess.run(["npm", "rebuild", "node"], cwd=CACHE, check=True, capture_output=True, timeout=300)
    return binary


def inspect(node: Path, home: Path, *arguments: str) -> Any:
    """Run the Inspector on the server of `mcp.json`; return its result."""
    env = {**os.environ, "STEPWELL_HOME": str(home / "stepwell"), "HOME": str(home), "MCP_STORAGE_DIR": str(home)}
    config = ["--cli", "--config", str(ROOT / "mcp.json"), "--server", "stepwell", "--format", "json"]
    command = [str(node), str(LAUNCHER), *config, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def use_tool(node: Path, home: Path, name: str, arguments: dict[str, Any], *more: str) -> Any:
    """Call a tool; return its structured content."""
    call = ["--method", "tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments)]
    return inspect(node, home, *call, *more)["structuredContent"]


@pytest.mark.slow
def test_the_tools_pass_the_strict_check_of_their_schemas(node: Path, tmp_path: Path):
    tools = inspect(node, tmp_path, "--method", "tools/list", "--strict")["tools"]

    assert {"create_workflow", "invoke_workflow", "get_run", "approve_run"} <= {tool["name"] for tool in tools}
    assert all(tool["title"] and tool["annotations"] for tool in tools)


@pytest.mark.slow
@pytest.mark.row("P2", "P11", "P17")
@pytest.mark.parametrize("era", [[], ERA], ids=["handshake", "modern"])
def test_a_workflow_is_created_and_invoked_in_both_eras(node: Path, tmp_path: Path, era: list[str]):
    source = "def run(name: str) -> str:\n    return f'Hello, {name}!'\n"

    created = use_tool(node, tmp_path, "create_workflow", {"name": "greet", "source": source}, *era)
    run = use_tool(node, tmp_path, "invoke_workflow", {"name": "greet", "arguments": {"name": "Ada"}}, *era)

    assert created["name"] == "greet"
    assert (run["status"], run["output"]) == ("completed", "Hello, Ada!")
