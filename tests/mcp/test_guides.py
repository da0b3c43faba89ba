"""The texts that teach a model."""

import json
import re
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from mcp_clients import MODES, call, in_memory, refused
from stepwell.catalog.analysis import analyse
from stepwell_server.surface.guide import TOPICS, read_guide
from stepwell_server.surface.texts import INSTRUCTIONS
from support.models import ModelServer, Say

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
EXAMPLES = [(topic, n, block) for topic in TOPICS for n, block in enumerate(BLOCK.findall(read_guide(topic)))]


@pytest.mark.parametrize(("topic", "n", "source"), EXAMPLES, ids=[f"{topic}-{n}" for topic, n, _ in EXAMPLES])
def test_every_example_can_be_stored_without_a_warning(topic: str, n: int, source: str) -> None:
    version = analyse(source, name="example", script=not is_module(source))
    codes = {warning.code for warning in version.warnings}
    assert codes <= ({"work_at_import"} if version.entry_kind == "script" else set())
    if version.entry_kind != "script":
        assert version.description


def is_module(source: str) -> bool:
    return "def run" in source or "Workflow(" in source


def test_the_instructions_are_short_and_their_example_is_valid() -> None:
    assert len(INSTRUCTIONS.encode()) <= 2048
    [source] = BLOCK.findall(INSTRUCTIONS)
    assert len(source.strip().split("\n")) <= 16
    assert analyse(source, name="example").warnings == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_guides_are_a_tool_and_resources(mode: str, tmp_path: Path) -> None:
    async with in_memory(tmp_path, mode) as client:
        listed = {str(resource.uri): resource for resource in (await client.list_resources()).resources}
        assert set(listed) == {f"stepwell://guide/{topic}" for topic in TOPICS}
        for topic in TOPICS:
            by_tool = await call(client, "get_guide", topic=topic)
            by_uri = (await client.read_resource(f"stepwell://guide/{topic}")).contents[0]
            assert by_tool["text"] == getattr(by_uri, "text", None) == read_guide(topic)
            assert by_uri.mime_type == "text/markdown"
        assert (await call(client, "get_guide"))["topic"] == "authoring"
        assert "Topics: authoring" in (await refused(client, "get_guide", topic="nothing"))["hint"]
        with pytest.raises(MCPError):
            await client.read_resource("stepwell://guide/nothing")
        template, artifacts = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "stepwell://guide/{topic}"
        assert artifacts.uri_template == "stepwell://artifact/{run_id}/{name}"


# What the examples are run with; `{base}` is a server of this test.
INPUTS: dict[tuple[str, int], dict[str, Any]] = {
    ("authoring", 0): {"url": "{base}/json"},
    ("authoring", 1): {"first": "{base}/page", "second": "{base}/json"},
    ("authoring", 2): {"urls": ["{base}/page", "{base}/json"]},
    ("authoring", 3): {"url": "{base}/page"},
    ("authoring", 4): {"input": "{base}/page"},
    ("authoring", 5): {"url": "{base}/page", "topic": "words"},
    ("authoring", 6): {"name": "Ada"},
    ("authoring", 7): {"repos": ["a/b", "c/d"]},
    ("durability", 0): {"url": "{base}/page"},
    ("durability", 1): {"order_id": "1", "amount": 2},
    ("tools", 0): {"page_url": "{base}/page", "hook_url": "{base}/hook"},
    ("tools", 1): {"urls": ["{base}/page", "{base}/json"]},
    ("tools", 2): {"url": "{base}/page"},
    ("approvals", 0): {"invoice": "i", "amount": 1},
    ("approvals", 1): {"text": "t"},
    ("approvals", 2): {"order_id": "42"},
    ("errors", 0): {"url": "{base}/number"},
    ("examples", 0): {"url": "{base}/json"},
    ("examples", 1): {"owner": "o", "repo": "r"},
    ("examples", 2): {"urls": ["{base}/page"] * 12},
    ("examples", 3): {"order": {"id": 1, "amount": 3}},
    ("examples", 4): {"items": [{"name": "a", "price": 1.5}, {"name": "b", "price": 2, "count": 3}]},
    ("examples", 5): {"url": "{base}/page"},
}
PAGES = {"/number": " 42.5 ", "/page": "word " * 40 + "\n\nA second paragraph."}
HOSTS = re.compile(r"https://(?:[a-z]+\.)?(?:example\.org|github\.com)")
DOCUMENT = {"name": "r", "stargazers_count": 3, "language": "Python"}


class _Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self._send(json.dumps(DOCUMENT) if page is None else page, "application/json" if page is None else "text/plain")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._send('{"ok": true}', "application/json")

    def _send(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by the base class
        pass


@pytest.fixture
def web() -> Generator[str, None, None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def model() -> Generator[ModelServer, None, None]:
    with ModelServer().serving() as server:
        yield server


@pytest.mark.asyncio
async def test_every_example_is_stored_and_runs(
    web: str, model: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    model.say(Say(calls=(("submit_result", {"answer": "words", "quote": "word"}),)))
    http = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n'
    (tmp_path / "stepwell.toml").write_text(http + model.config())
    sources = {
        (topic, n): re.sub(r"https://[a-z.]*example\.org|https://api\.github\.com", web, text)
        for topic, n, text in EXAMPLES
    }
    assert {key for key, source in sources.items() if is_module(source)} == INPUTS.keys()
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="fetch_json", source=sources["examples", 0])
        await call(client, "create_workflow", name="get_repo_metadata", source=sources["examples", 1])
        for key, inputs in INPUTS.items():
            name = f"{key[0]}_{key[1]}"
            created = await call(client, "create_workflow", name=name, source=sources[key])
            # Some are stored under two names here.
            assert {warning["code"] for warning in created["warnings"]} <= {"near_duplicate"}
            arguments = json.loads(json.dumps(inputs).replace("{base}", web))
            run = await call(client, "invoke_workflow", name=name, arguments=arguments)
            assert (await decide(client, run))["status"] in ("completed", "sleeping"), name
        run = await call(client, "run_code", code=sources["examples", 6].replace(f'"{web}"', f'"{web}/page"'))
        assert run["output"] == {"lines": 3, "longest": 200}


async def decide(client: Client, run: dict[str, Any]) -> dict[str, Any]:
    """Answer whatever the run waits for until it waits for nobody."""
    while run["status"] == "waiting":
        wait = run["waiting_for"][0]
        if wait["kind"] == "event":
            await call(client, "emit_event", name=wait["key"].split("#")[0], payload={"amount": 10})
        elif wait["kind"] == "approval":
            await call(client, "approve_run", run_id=run["run_id"], decision="approve", digest=wait["digest"])
        else:
            value = wait["options"][0]["id"] if wait["options"] else "text"
            await call(client, "approve_run", run_id=run["run_id"], decision="answer", value=value)
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)
    return run
