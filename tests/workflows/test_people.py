"""Gates and questions: what a run that waits for a person does, through `Session`."""

from pathlib import Path

import pytest

from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

PUBLISH = """
def publish(base, text):
    tools.curl.post(url=base + "/effect/publish", json={"text": text})
    return "published"

async def run(ctx, base: str) -> str:
    draft = await ctx.step("draft")({"title": "T"})
    checked = await ctx.step("review", requires_approval=True)(draft)
    return await ctx.step(publish, base, checked["title"])
"""


@pytest.mark.row("N10", "N11", "S19", "S21", "S23")
@pytest.mark.asyncio
async def test_a_gate_shows_its_value_and_lets_the_run_go_on_once_approved(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("flow", PUBLISH)
        run = await session.run("flow", base=outside.url)
        (gate,) = run.waiting_for
        assert (run.status, gate.kind, gate.name, gate.context) == (
            RunStatus.WAITING,
            "approval",
            "review",
            {"title": "T"},
        )
        assert outside.effects == {}

    async with Session(home) as session:  # another process could do the same
        run = await session.wait(await session.approve(run.id, reviewer="ada"))
        events = {event.type: event.data for event in await session.timeline(run)}

    assert run.output == "published"
    assert outside.effects == {"publish": 1}
    assert events["wait.decided"]["reviewer"] == "ada"


@pytest.mark.row("N10", "S22")
@pytest.mark.asyncio
async def test_a_rejected_gate_ends_the_run_with_the_reason(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("flow", PUBLISH)
        run = await session.run("flow", base=outside.url)
        run = await session.wait(await session.reject(run, reason="too long", reviewer="ada"))
        with pytest.raises(Conflict):
            await session.resume(run)

    assert run.status is RunStatus.REJECTED
    assert run.error is not None
    assert "too long" in run.error.message
    assert outside.effects == {}


@pytest.mark.row("N11")
@pytest.mark.asyncio
async def test_a_gate_is_decided_once(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("flow", PUBLISH)
        run = await session.run("flow", base=outside.url)
        key, digest = run.waiting_for[0].key, run.waiting_for[0].digest
        with pytest.raises(Conflict, match="digest"):
            await session.approve(run, key=key, digest="0" * len(digest))
        await session.wait(await session.approve(run, key=key, digest=digest))
        with pytest.raises(Conflict):
            await session.approve(run, key=key, digest=digest)


@pytest.mark.row("S24", "A35")
@pytest.mark.asyncio
async def test_two_gates_need_two_approvals(home: Path):
    source = (
        "async def run(ctx):\n    one = await ctx.step('one', requires_approval=True)(1)\n"
        "    two = await ctx.step('two', requires_approval=True)(2)\n    return one + two\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.wait(await session.approve(run))
        assert [wait.name for wait in run.waiting_for] == ["two"]
        run = await session.wait(await session.approve(run))

    assert run.output == 3


@pytest.mark.row("P23")
@pytest.mark.asyncio
async def test_a_bare_except_cannot_swallow_a_pause(home: Path, outside: Outside):
    source = (
        "async def run(ctx, base: str):\n    try:\n        await ctx.wait_for_user('?')\n    except:\n        pass\n"
        "    tools.curl.post(url=base + '/effect/after', json={})\n    return 'after'\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        assert run.status is RunStatus.WAITING
        assert outside.effects == {}
        run = await session.wait(await session.answer(run, "x"))

    assert run.output == "after"


ASK = """
async def run(ctx) -> dict:
    name = await ctx.wait_for_user("Your name?")
    lang = await ctx.wait_for_user("Language?", input_type="select",
                                   options=[{"id": "en", "label": "English"}, {"id": "de", "label": "German"}])
    many = await ctx.wait_for_user("Topics?", input_type="multiselect",
                                   options=[{"id": "a", "label": "A"}, {"id": "b", "label": "B"}])
    decision = await ctx.wait_for_user("Publish?", input_type="approval")
    if decision == "reject":
        return {"status": "rejected", "name": name, "lang": lang, "many": many}
    return {"status": "published"}
"""


@pytest.mark.row("A31", "A32", "A33", "A35", "A36")
@pytest.mark.asyncio
async def test_questions_of_every_type_are_answered_in_order_over_several_processes(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", ASK)
        run = await session.run("flow")
    for answer in ("Ada", "de", "a,b"):
        async with Session(home) as session:
            run = await session.wait(await session.answer(run.id, answer))
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "reject"))

    assert run.status is RunStatus.COMPLETED
    assert run.output == {"status": "rejected", "name": "Ada", "lang": "de", "many": ["a", "b"]}


@pytest.mark.row("A32")
@pytest.mark.asyncio
async def test_an_answer_that_is_no_option_is_refused_and_the_question_stays_open(home: Path):
    source = (
        "async def run(ctx):\n    return await ctx.wait_for_user('?', input_type='select',"
        " options=[{'id': 'en', 'label': 'English'}])\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        with pytest.raises(InvalidArguments) as refused:
            await session.answer(run, "fr")
        assert "en" in refused.value.hint
        run = await session.wait(await session.answer(run, "en"))

    assert run.output == "en"


@pytest.mark.row("A34")
@pytest.mark.asyncio
async def test_a_question_can_be_skipped_or_take_a_free_text_where_it_says_so(home: Path):
    source = (
        "async def run(ctx):\n    a = await ctx.wait_for_user('?', skippable=True)\n"
        "    b = await ctx.wait_for_user('?', input_type='select', options=[{'id': 'x', 'label': 'X'}],"
        " allow_custom=True)\n    return [a, b]\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.wait(await session.answer(run, None))
        run = await session.wait(await session.answer(run, "own words"))

    assert run.output == [None, "own words"]


@pytest.mark.row("S26")
@pytest.mark.asyncio
async def test_an_approval_that_nobody_gives_in_time_is_a_rejection(home: Path):
    source = "async def run(ctx):\n    await ctx.approve('Sure?', timeout=0.3)\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow"), 60)

    assert run.status is RunStatus.REJECTED
    assert run.error is not None
    assert "in time" in run.error.message
