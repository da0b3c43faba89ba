"""What the README and the documents say can be done is done here."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from docs.fences import ROOT, blocks, commands, documents, links
from docs.local_site import LocalSite
from stepwell.model import RunStatus
from stepwell_server import Session
from stepwell_server.cli.root import root
from stepwell_server.settings import parse_settings
from stepwell_server.surface.entries import make_entries

README = (ROOT / "README.md").read_text()
LIMIT_S = 60
DOCUMENTS = documents()
WORKFLOW, HARNESS = blocks(README, "python")
MENTION = re.compile(r"(?:`|^\$ )stepwell ([a-z-]+)", re.MULTILINE)


def command_names() -> set[str]:
    return set(root.list_commands(click.Context(root)))


@pytest.mark.slow
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    environment = os.environ | {"STEPWELL_HOME": str(tmp_path / "home")}
    ran = 0
    for command in commands(README):
        program, *arguments = shlex.split(command.line)
        if program != "stepwell":
            continue
        line = [sys.executable, "-m", "stepwell_server.cli", *arguments]
        done = subprocess.run(
            line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        assert done.returncode == command.exit_code, f"{command.line}\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran > 10


def test_the_targets_that_the_readme_names_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {shlex.split(command.line)[1] for command in commands(README) if command.line.startswith("make ")}

    assert {"demo", "test"} <= named
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    assert set(MENTION.findall(document.read_text())) - command_names() == set()


def test_the_readme_names_every_command() -> None:
    text = README[README.index("## Command line") : README.index("## From Python")]

    named = set(re.findall(r"`([a-z-]+)`", text)) | set(MENTION.findall(text))
    assert command_names() - named == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [link for link in links(document.read_text()) if not (document.parent / link).exists()] == []


def test_the_table_of_tools_is_the_table_of_tools() -> None:
    text = README[README.index("## Tools for the agent") : README.index("## Command line")]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(make_entries())


def test_the_configuration_of_the_readme_is_accepted() -> None:
    (text,) = blocks(README, "toml")

    assert parse_settings(text).http.allow_hosts == ("api.github.com", "*.example.org")


def test_the_client_configurations_are_json() -> None:
    for text in (*blocks(README, "json"), (ROOT / "mcp.json").read_text()):
        assert json.loads(text)["mcpServers"]["stepwell"]["args"] == ["serve"]


@pytest.mark.asyncio
async def test_the_workflow_of_the_readme_runs(home: Path, site: LocalSite) -> None:
    site.pages |= {"/a": "short", "/b": "much longer"}

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        created = await session.add_workflow("keep_longest", WORKFLOW)
        waiting = await session.run("keep_longest", urls=[f"{site.url}/a", f"{site.url}/b"])
        ended = await session.approve(waiting)
        artifact = await session.app.engine.artifact(ended.id, "longest")

    assert created.warnings == ()
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == {"characters": 11, "of": 2}
    assert artifact.data == b"much longer"


def test_the_harness_of_the_readme_runs(tmp_path: Path) -> None:
    script = tmp_path / "harness.py"
    script.write_text(HARNESS)

    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "waiting How?\ncompleted Hello, Ada!\n"


def test_the_modules_that_the_documents_name_exist() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:library|sandbox|server|demo|tests|examples)/[\w/.]+)`", document.read_text()):
            assert (ROOT / name).exists(), f"{document.name}: {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_state_facts(document: Path) -> None:
    text = document.read_text().lower()

    assert [word for word in ("robust", "seamless", "powerful", "blazing", "simply", "todo") if word in text] == []
