"""Every file in `examples/` is stored and run, as an author would."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from docs.local_site import LocalSite
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from support.models import KEY, ModelServer, Say, last_text
from support.server import make_home

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
LIMIT_S = 60
ORDER: dict[str, Any] = {"order_id": "A-1", "items": [{"price": 2.5, "quantity": 4}]}


async def run(session: Session, name: str, /, **inputs: Any) -> Run:
    await session.add_workflow(name, (EXAMPLES / f"{name}.py").read_text())
    return await session.run(name, **inputs)


def completed(ran: Run) -> Any:
    assert ran.status is RunStatus.COMPLETED, ran.error
    return ran.output


def test_there_is_an_example_of_every_kind() -> None:
    assert NAMES == [
        "await_payment",
        "compare_pages",
        "draft_note",
        "page_summary",
        "patient_download",
        "plan_meeting",
        "process_order",
        "publish_article",
        "shopping_total",
        "site_report",
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", NAMES)
async def test_an_example_is_stored_without_a_warning(name: str, home: Path) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        created = await session.add_workflow(name, (EXAMPLES / f"{name}.py").read_text())

    assert created.created
    assert [(warning.line, warning.message) for warning in created.warnings] == []
    assert created.workflow.description


@pytest.mark.asyncio
async def test_page_summary_and_site_report(home: Path, site: LocalSite) -> None:
    site.pages |= {"/a": "First words.\n\nMore of them.", "/b": "Alone."}
    urls = [f"{site.url}/a", f"{site.url}/b"]

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        page = completed(await run(session, "page_summary", url=urls[0]))
        reported = await run(session, "site_report", urls=urls, title="Both")
        artifact = await session.app.engine.artifact(reported.id, "report")

    assert page == {"url": urls[0], "summary": "First words.", "word_count": 5}
    assert completed(reported) == {"pages": 2, "words": 6, "artifact": "report"}
    assert artifact.data.decode().startswith(f"# Both\n\n## {urls[0]}\n\nFirst words.")


@pytest.mark.asyncio
async def test_compare_pages(home: Path, site: LocalSite) -> None:
    site.pages |= {"/short": "x", "/long": "x" * 100}
    urls = [f"{site.url}/short", f"{site.url}/long"]

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        output = completed(await run(session, "compare_pages", urls=urls))

    assert output == {"lengths": {urls[0]: 1, urls[1]: 100}, "longest": urls[1]}


@pytest.mark.asyncio
async def test_patient_download_outlasts_a_service_that_fails(home: Path, site: LocalSite) -> None:
    site.pages["/doc"] = "worth the wait"
    site.failures["/doc"] = 3

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        output = completed(await run(session, "patient_download", url=f"{site.url}/doc", first_delay=0.01))

    assert output == {"characters": 14, "begins": "worth the wait"}
    assert site.requests == ["/doc"] * 4


@pytest.mark.asyncio
async def test_process_order_charges_once_and_ships_when_approved(home: Path, site: LocalSite) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        waiting = await run(session, "process_order", shop=site.url, **ORDER)
        assert waiting.status is RunStatus.WAITING
        assert [posted.path for posted in site.posts] == ["/charges"]
        ended = await session.approve(waiting)

    assert completed(ended) == {"order": "A-1", "amount": 10.0, "charge": "p1", "shipment": "p2"}
    assert [posted.path for posted in site.posts] == ["/charges", "/shipments"]
    assert site.posts[0].key


@pytest.mark.asyncio
async def test_process_order_ships_nothing_when_rejected(home: Path, site: LocalSite) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        waiting = await run(session, "process_order", shop=site.url, **ORDER)
        ended = await session.reject(waiting, "out of stock")

    assert completed(ended)["shipment"] is None
    assert completed(ended)["reason"] == "out of stock"
    assert [posted.path for posted in site.posts] == ["/charges"]


@pytest.mark.asyncio
async def test_publish_article_waits_for_a_person(home: Path, site: LocalSite) -> None:
    site.pages["/page"] = "one two three four"

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        waiting = await run(session, "publish_article", url=f"{site.url}/page", words=3)
        assert waiting.waiting_for[0].context == f"one two three\n\nSource: {site.url}/page"
        ended = await session.approve(waiting)
        artifact = await session.app.engine.artifact(ended.id, "article")

    assert completed(ended) == {"artifact": "article", "characters": len(artifact.data)}
    assert ended.completed_steps == ("research", "draft", "review", "publish")


@pytest.mark.asyncio
async def test_plan_meeting_asks_one_question_after_the_other(home: Path) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        asked = await run(session, "plan_meeting", subject="Budget", days=["Mon", "Tue"], people=["Ada", "Bob", "Cy"])
        assert asked.waiting_for[0].prompt == "Budget: which day?"
        asked = await session.answer(asked, "Tue")
        asked = await session.answer(asked, ["Ada", "Cy"])
        ended = await session.answer(asked, None)

    assert completed(ended) == {"subject": "Budget", "day": "Tue", "invited": ["Ada", "Cy"], "room": "online"}


@pytest.mark.asyncio
async def test_shopping_total_is_exact(home: Path) -> None:
    items = [{"name": "lamp", "price": "0.10", "count": 3}, {"name": "bulb", "price": "3.25"}]

    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        output = completed(await run(session, "shopping_total", items=items, discount="0.5"))

    assert output == {"total": "1.78", "currency": "EUR"}


@pytest.mark.asyncio
async def test_await_payment_goes_on_when_the_event_comes(home: Path) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        waiting = await run(session, "await_payment", invoice="42")
        assert waiting.status is RunStatus.WAITING
        await session.app.engine.emit("paid.42", {"amount": 10})
        ended = await session.wait(waiting)

    assert completed(ended) == {"invoice": "42", "paid": True, "amount": 10, "reminders": 0}


@pytest.mark.asyncio
async def test_await_payment_ends_itself_when_nobody_pays(home: Path) -> None:
    async with asyncio.timeout(LIMIT_S), Session(home) as session:
        ended = await run(session, "await_payment", invoice="43", reminders=2, every=0.01)

    assert ended.status is RunStatus.TERMINATED
    assert ended.termination_reason == "invoice 43 was not paid after 2 reminders"


@pytest.mark.asyncio
async def test_draft_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ModelServer().serving() as models:
        models.say(Say("Wells are deep holes."), Say("Say what is in them."), Say("Wells hold water."), Say("Good."))
        home = make_home(tmp_path / "home", models.config())
        async with asyncio.timeout(LIMIT_S), Session(home) as session:
            drafted = await run(session, "draft_note", input="wells")
        asked = [last_text(request) for request in models.requests]

    assert completed(drafted) == "Wells hold water."
    assert asked[0] == "Topic: wells"
    assert asked[2] == "Topic: wells\nNote: Wells are deep holes.\nRemark: Say what is in them."
