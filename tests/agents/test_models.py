"""Models by name: endpoints, aliases, overrides of a process, parameters, keys and prices."""

import asyncio
import json
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import StartOptions
from stepwell.errors import ConfigError
from stepwell.models import ModelHost, ModelNames
from stepwell_server import Session
from stepwell_server.settings import parse_settings
from support.models import KEY, Fail, ModelServer, Reply, Say, last_text
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio

ASK = '''
"""Ask a model by its name."""
from stepwell import Agent

def double(n: int) -> int:
    return n * 2

async def run(ctx, model: str = "", tool: bool = False):
    agent = Agent("one", "Be brief.", model=model or None, tools=[double] if tool else [], temperature=0.5, stop_sequences=["END"])
    result = await agent("hi")
    return [result.output, result.model, result.tokens_used, result.cost_usd]
'''


@pytest.fixture
def home(tmp_path: Path, models: ModelServer) -> Path:
    more = (
        f'[models.aliases]\nfast = "claude-small"\nlocal = "shed/llama"\nround = "about"\nabout = "round"\n'
        f'[models.endpoints.shed]\napi_base = "{models.url}/openai/v1"\n'
        f'[models.endpoints.openai]\napi_base = "{models.url}/openai/v1"\n'
        '[models.prices."shed/llama"]\ninput = 0\noutput = 0\n[models.prices.claude-small]\ninput = "0.5"\noutput = 2\n'
    )
    return make_home(tmp_path / "home", LOCAL_HTTP + models.config(more))


async def ask(session: Session, **inputs: Any) -> Any:
    run = await session.run("ask", **inputs)
    assert run.status == "completed", run.error
    return run.output


@pytest.mark.row("S35")
async def test_names_aliases_and_overrides_lead_to_models(
    home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        assert await ask(session) == ["echo: hi", "claude-test", 10, 0.01]
        assert await ask(session, model="fast") == [
            "echo: hi",
            "claude-small",
            10,
            pytest.approx(5 * 0.5e-6 + 5 * 2e-6),
        ]
        assert await ask(session, model="local") == ["echo: hi", "shed/llama", 10, 0.0]
        assert await ask(session, model="openai:gpt-unpriced") == ["echo: hi", "gpt-unpriced", 10, None]
        lost = await session.run("ask", model="round")
    assert lost.error is not None
    assert "leads back to itself" in lost.error.message
    local, other = models.requests[2], models.requests[3]
    assert (local["_path"], local["_key"], local["max_tokens"]) == ("/openai/v1/chat/completions", "Bearer none", 8192)
    assert (local["temperature"], local["stop"]) == (0.5, ["END"])
    assert other["_key"] == "Bearer sk-other"
    assert (models.requests[0]["temperature"], models.requests[0]["stop_sequences"]) == (0.5, ["END"])

    # A worker with models of its own.
    monkeypatch.setenv("STEPWELL_MODELS", "default=local, claude-small=shed/llama")
    async with Session(home) as session:
        assert (await ask(session))[1] == "shed/llama"
        assert (await ask(session, model="fast"))[1] == "shed/llama"
    with closing(sqlite3.connect(home / "stepwell.db")) as connection, connection:
        stored = "\n".join(connection.iterdump())
    assert KEY not in stored
    assert "sk-other" not in stored


async def test_tools_work_with_servers_that_speak_openais_protocol(home: Path, models: ModelServer):
    def script(request: dict[str, Any]) -> Reply:
        if request["messages"][-1]["role"] == "tool":
            return Say(f"it is {last_text(request)}", cache_read=7)
        return Say("thinking", calls=(("double", {"n": 4}), ("double", {"n": 5})))

    models.script = script
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        assert await ask(session, model="local", tool=True) == ["it is 10", "shed/llama", 27, 0.0]
    sent = models.requests[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [call["function"]["arguments"] for call in sent[2]["tool_calls"]] == ['{"n": 4}', '{"n": 5}']
    assert [message["content"] for message in sent[3:]] == ["8", "10"]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Say("no", stop="content_filter"), "refused"),
        (Say("Once", stop="length"), "truncated"),
        (Fail(401, "invalid_request_error"), "invalid_key"),
    ],
)
async def test_what_goes_wrong_there_has_the_same_codes(home: Path, models: ModelServer, reply: Reply, code: str):
    models.say(reply)
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        run = await session.run("ask", model="local")
    assert run.error is not None
    assert run.error.code == code


async def test_a_missing_extra_is_named(home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "stepwell.models.openai_client", raising=False)
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        run = await session.run("ask", model="local")
    assert run.error is not None
    assert run.error.code == "missing_extra"
    assert "pip install 'stepwell[openai]'" in run.error.message


async def test_fallback_models_are_asked_after_the_first(
    home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stepwell.engine.turns.MAX_TRIES", 2)
    monkeypatch.setattr("stepwell.engine.turns.FIRST_DELAY_S", 0.001)
    models.script = lambda request: Fail(529, "overloaded_error") if request["model"] == "claude-test" else Say("here")
    source = ASK.replace("temperature=0.5", "fallback_models=['claude-other', 'local']")
    async with Session(home) as session:
        await session.add_workflow("ask", source)
        assert (await ask(session))[:2] == ["here", "claude-other"]
        assert (await ask(session, model="nowhere"))[:2] == ["here", "claude-other"]
    assert [request["model"] for request in models.requests] == ["claude-test", "claude-test", *["claude-other"] * 2]


async def test_what_an_endpoint_does_not_count_has_no_cost_and_no_budget(home: Path, models: ModelServer):
    models.say(Say("x" * 40, counted=False))
    twice = ASK.replace('await agent("hi")', 'await agent("hi"); result = await agent("ho")')
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        free = await session.run("ask", model="local")
        await session.add_workflow("ask", twice, replace=True)
        bounded = await session.wait(await session.start("ask", StartOptions(budget_usd=1), model="local"))
    assert free.output[3] is None
    assert free.cost_usd is None
    assert free.tokens_used > 10
    assert bounded.error is not None
    assert bounded.error.code == "unknown_cost"
    assert "the run's budget cannot be held" in bounded.error.message
    assert len(models.requests) == 2


async def test_the_sdk_of_the_default_model_is_loaded_ahead_where_it_can_be_asked():
    names = ModelNames("claude-test")
    for environment, loads in (({}, False), ({"ANTHROPIC_API_KEY": KEY}, True)):
        before = set(threading.enumerate())
        host = ModelHost(names, environment=environment)
        host.prepare()
        host.prepare()
        begun = [thread for thread in threading.enumerate() if thread not in before and thread.name == "model-sdk"]
        for thread in begun:
            await asyncio.to_thread(thread.join, 60)
        assert len(begun) <= loads  # it may be over already
        assert not loads or "stepwell.models.anthropic_client" in sys.modules


async def test_a_turn_has_its_own_time_out(home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stepwell.engine.turns.MAX_SENT", 1)
    models.say(Say("late", hold="gate"))
    async with Session(home) as session:
        await session.add_workflow("ask", ASK.replace("temperature=0.5", "timeout=0.2"))
        # Loading the SDK counts to the first time-out; the second is the model's.
        await session.run("ask")
        run = await session.run("ask")
    models.open_gate("gate")
    assert run.error is not None
    assert run.error.code == "timeout"
    assert "within 0.2 s" in run.error.message


@pytest.mark.row("S36")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("temperature=3", "temperature is a number from 0 to 2, not 3"),
        ("top_p=1.5", "top_p is a number from 0 to 1"),
        ("top_k=0", "top_k is a whole number from 1"),
        ("max_tokens=0", "max_tokens is a whole number from 1"),
        ("presence_penalty=-3", "presence_penalty is a number from -2 to 2"),
        ("stop_sequences='END'", "stop_sequences is a list"),
        ("preset='wild'", "preset is one of precise, balanced, creative, experimental"),
        ("budget_usd=float('nan')", "budget_usd is a number of dollars from 0"),
        ("output_type=len", "output_type is a class, a type such as list[int], or a JSON Schema"),
    ],
)
async def test_parameters_are_checked_where_they_are_given(home: Path, models: ModelServer, given: str, said: str):
    async with Session(home) as session:
        run = await session.run_code(f"from stepwell import Agent\nawait Agent('a', {given})('x')\n")
    assert run.error is not None
    assert run.error.type in ("ValueError", "TypeError")
    assert said in run.error.message
    assert models.requests == []


async def test_presets_are_parameters(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.run_code("from stepwell import Agent\nawait Agent('a', preset='precise', top_k=5)('x')\n")
    assert (models.requests[0]["temperature"], models.requests[0]["top_k"]) == (0.1, 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agents.a]\ntemperature = 3", "line 1: agents.a: temperature is a number from 0 to 2, not 3"),
        ("[agents.'a b']\n", '"a b" is no name of an agent'),
        ("[agents.list]\n", '"list" is no name of an agent'),
        ("[agents.a]\nmodle = 'x'", 'agents.a.modle: unknown key (did you mean "model"?)'),
        ("[models]\nbudget_usd_per_day = 0", "models.budget_usd_per_day must be"),
        ("[models.prices.x]\ninput = 1", "a price has at least `input` and `output`"),
        ("[models.prices.x]\ninput = 1\noutput = -1", "a price is a number of dollars for a million tokens, not -1"),
        ("[models.prices.x]\ninput = nan\noutput = 1", "a price is a number of dollars for a million tokens, not nan"),
        ("[models.prices.x]\ninput = 1\noutput = 1\nabove = 5", "`above` (tokens of a prompt) and `long`"),
        ("[models.endpoints.x]\napi_base = 'ftp://x'", "models.endpoints.x.api_base must"),
    ],
)
async def test_mistakes_in_the_configuration_are_named(text: str, said: str):
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    assert said in caught.value.message


async def test_the_list_of_prices_has_a_date_and_can_be_read():
    from stepwell.models import PriceList

    prices = PriceList()
    assert prices.date.startswith("20")
    sonnet = prices.find("claude-sonnet-5-5")
    assert sonnet is not None
    assert (sonnet.input, sonnet.output) == (2_000_000, 10_000_000)
    assert prices.find("claude-haiku-4-5-20251001") == prices.find("claude-haiku-4-5")
    assert prices.find("claude-unheard-of") is None
    long = prices.find("claude-haiku-5-5")
    assert long is not None
    assert long.most(200_000, 10) == 200_000 * 625_000 + 10 * 2_500_000
    assert json.dumps(prices.names())
