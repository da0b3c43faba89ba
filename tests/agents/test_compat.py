"""Workflows written for other systems run with their import line changed."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents import compat_sources as sources
from stepwell.catalog.analysis import analyse
from stepwell.compat.sagewai import TokenBudgetGuard, get_worker_credentials
from stepwell.errors import InvalidSource
from stepwell.model import Run
from stepwell_server import Session
from support.models import ModelServer, Reply, Say, last_text

ALIAS = '[models.aliases]\n"gpt-4o" = "claude-test"\n'


@pytest_asyncio.fixture
async def session(home: Path) -> AsyncGenerator[Session, None]:
    with (home / "stepwell.toml").open("a") as file:
        file.write(ALIAS)
    async with asyncio.timeout(90), Session(home) as opened:
        yield opened


def output_of(run: Run) -> Any:
    assert run.status == "completed", run.error
    return run.output


@pytest.mark.row("A4", "A7", "A14")
@pytest.mark.asyncio
async def test_the_shapes_of_agnt5_run(session: Session):
    for name, (source, inputs, output) in sources.AGNT5.items():
        created = await session.add_workflow(name, sources.AGNT5_HEAD + source)
        assert created.warnings == (), name
        run = await session.run(name, **inputs)
        if run.status == "waiting":
            run = await session.wait(await session.answer(run, "approve"))
        assert output_of(run) == output, name


@pytest.mark.row("A4")
def test_a_workflow_of_agnt5_without_its_context_is_refused() -> None:
    source = "from stepwell.compat.agnt5 import workflow\n@workflow\nasync def report(topic: str): ...\n"

    with pytest.raises(InvalidSource, match=r"first parameter of the workflow `report` must be `ctx: WorkflowContext`"):
        analyse(source, name="report")


@pytest.mark.row("N1", "N2", "N3", "N5", "N6", "N9", "N10")
@pytest.mark.asyncio
async def test_the_shapes_of_ninetrix_run(session: Session):
    for name, (source, output) in sources.NINETRIX.items():
        created = await session.add_workflow(name, sources.NINETRIX_HEAD + source)
        assert list(created.workflow.version.schema["properties"]) == ["topic"]
        run = await session.run(name, topic="T")
        if run.status == "waiting":
            run = await session.wait(await session.approve(run))
        assert output_of(run) == output, name


@pytest.mark.row("N1", "N12", "N13", "N14", "N15", "N16", "N17", "N23", "N24")
@pytest.mark.asyncio
async def test_a_decorated_workflow_of_ninetrix_is_called_in_code(session: Session):
    run = await session.run_code(sources.NINETRIX_HEAD + sources.NINETRIX_SCRIPT)

    assert output_of(run) == [
        "echo: T", ["draft", "kept"], 30, 0.03, True, "echo: U", True, "No relevant information found", None,
        "anthropic", "claude-test", 50.0, 49.97, [],
    ]  # fmt: skip


@pytest.mark.row("S1", "S2", "S3", "S6", "S47", "S8", "S10", "S13", "S14", "S15", "S16", "S18", "S19")
@pytest.mark.asyncio
async def test_the_shapes_of_sagewai_run(session: Session, models: ModelServer):
    guarded = await session.run_code(sources.SAGEWAI_HEAD + sources.SAGEWAI_GUARD)
    assert models.requests == []
    agents = await session.run_code(sources.SAGEWAI_HEAD + sources.SAGEWAI_AGENTS)
    steps = await session.run_code(sources.SAGEWAI_HEAD + sources.SAGEWAI_STEPS)
    whole = await session.run_code(sources.SAGEWAI_HEAD + sources.SAGEWAI_WHOLE)
    assert [wait.prompt for wait in whole.waiting_for] == ["Approve: echo: Research: wells..."]
    whole = await session.wait(await session.approve(whole))
    logs = [line.text for line in await session.app.engine.logs(steps.id)]

    assert guarded.error is not None
    assert guarded.error.code == "budget_exceeded"
    assert "the budget of the agent 'guarded' of $0.5" in guarded.error.message
    assert [request.get("temperature") for request in models.requests[2:4]].count(0.1) == 1
    twice = "echo: echo: echo: Write about wells"
    assert output_of(agents) == f"{twice}\n\n{twice}"
    assert output_of(steps) == ["Published: echo: Article: echo: wells", True]
    assert steps.completed_steps == ("research", "draft", "publish")
    assert output_of(whole) == "echo: Research: wells"
    assert any("PostgresStore(database_url) is ignored" in line for line in logs)


@pytest.mark.parametrize("dollars", [0, -1, float("nan")])
def test_a_guard_that_lets_nothing_be_spent_is_refused(dollars: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBudgetGuard(max_usd=dollars)


@pytest.mark.row("S7", "S13", "S19", "S22", "S23")
@pytest.mark.asyncio
async def test_a_gated_pipeline_of_sagewai_is_stored_approved_and_rejected(session: Session):
    await session.add_workflow("content", sources.SAGEWAI_STORED)
    approved, rejected = [await session.run("content", topic=topic) for topic in ("a", "b")]
    assert approved.waiting_for[0].context == {"content": "echo: Write about: a"}
    approved = await session.wait(await session.approve(approved))
    rejected = await session.wait(await session.reject(rejected, "needs citations"))

    assert output_of(approved) == "Published: echo: Write about: a"
    assert rejected.status == "rejected"


@pytest.mark.row("D1", "D3", "D4", "D6", "D8", "D16", "D21", "D27")
@pytest.mark.asyncio
async def test_the_shapes_of_definable_run(session: Session, models: ModelServer):
    script = await session.run_code(sources.DEFINABLE_SCRIPT)
    reviews: list[int] = []

    def review(request: dict[str, Any]) -> Reply:
        if "Review." not in str(request.get("system")):
            return Say(f"echo: {last_text(request)[:20]}")
        reviews.append(1)
        return Say("APPROVED" if len(reviews) == 2 else "again")

    models.script = review
    await session.add_workflow("full", sources.DEFINABLE_NESTED)
    full = await session.run("full", input="wells")

    content, web = output_of(script)
    assert web == "echo: wells"
    assert content.startswith(
        "Processed: echo: wells\nPrevious step output:\n[web-research]: echo: wells\n\n[analysis]"
    )
    assert output_of(full) == "APPROVED"
    assert full.completed_steps[-4:] == ("rewrite", "review", "rewrite#2", "review#2")


def test_a_source_of_another_system_is_told_its_import() -> None:
    source = "from sagewai import UniversalAgent\ndef run(): ...\n"

    [warning] = [item for item in analyse(source, name="w").warnings if item.code == "missing_package"]

    assert "import the same names from `stepwell.compat.sagewai`" in warning.message


def test_tools_of_agents_are_known_from_the_source() -> None:
    source = (
        "from stepwell import Agent\nfrom stepwell.compat.sagewai import UniversalAgent\n"
        "a = UniversalAgent(name='a', tools=['fetch'])\nb = Agent('b', tools='web.get')\ndef run(): ...\n"
    )

    assert analyse(source, name="w").manifest["tools"] == ["fetch", "web.get"]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("from sagewai import UniversalAgent", "Import the same names from stepwell.compat.sagewai"),
        ("from agnt5.types import event", "Import the same names from stepwell.compat.agnt5"),
        ("from stepwell.compat.sagewai import WorkflowWorker", "Leave out what the server does by itself: workers"),
        ("from stepwell.compat.agnt5.types import event", "each with all its names"),
        ("Agent('a')", "Add the line: from stepwell import Agent"),
        ("agnt('a')", ""),
    ],
)
@pytest.mark.asyncio
async def test_a_missing_name_is_told_where_it_is(session: Session, source: str, hint: str):
    run = await session.run_code(source)
    assert run.error is not None
    assert hint in run.error.hint if hint else not run.error.hint


@pytest.mark.row("S36", "S37")
@pytest.mark.asyncio
async def test_a_run_of_sagewai_sees_its_workers_models(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_MODELS", "default=ollama/llama3.2")
    async with Session(home) as session:
        run = await session.run_code(sources.CREDENTIALS)

    assert output_of(run) == [
        {"default": "ollama/llama3.2"},
        None,
        "temperature is a number from 0 to 2, not 3",
        [0.7, 120.0, None],
        {"temperature": 0.1, "top_k": 5, "timeout": 120.0},
    ]
    assert get_worker_credentials() is None
