"""Turns of endpoints that speak OpenAI's chat completions. Content is translated from and to Anthropic's form."""

import json
from collections.abc import Callable
from typing import Any

import openai

from stepwell.errors import ModelFailure
from stepwell.models.failures import is_unsent, lost, status_failure, unreached
from stepwell.ports.models import ModelRequest, ModelTurn, Usage

STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
CHARACTERS = 4  # of a token, about
OWN_PARAMETERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class OpenAIClient:
    """Asks one endpoint with one key. The engine tries again by itself, so the SDK does not."""

    def __init__(self, api_base: str | None, key: str) -> None:
        self._official = api_base is None
        self._client = openai.AsyncOpenAI(api_key=key, base_url=api_base, max_retries=0)

    async def ask(self, request: ModelRequest, timeout_s: float, on_text: Callable[[str], None]) -> ModelTurn:
        """Ask once; see `Models.ask`."""
        name, heard = request.model.name, _Heard()
        try:
            stream: Any = await self._client.chat.completions.create(**self._arguments(request), timeout=timeout_s)
            async with stream:
                async for chunk in stream:
                    heard.take(chunk, on_text)
        except openai.APIStatusError as error:
            raise status_failure(name, error, streaming=heard.began) from error
        except openai.APIConnectionError as error:
            raise (unreached if is_unsent(error) else lost)(name, error) from error
        except (ModelFailure, TimeoutError):
            raise
        except Exception as error:  # the SDK's and the transport's: a broken stream fails in many ways
            raise lost(name, error) from error
        return heard.turn(request)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        inference = request.inference
        given: dict[str, Any] = {
            "model": request.model.id,
            "messages": _messages(request),
            "stream": True,
            "stream_options": {"include_usage": True},
            # Newer models of OpenAI refuse the old name, other servers do not know the new one.
            "max_completion_tokens" if self._official else "max_tokens": request.max_tokens,
        }
        if request.tools:
            given["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool["name"],
                        "description": tool.get("description", ""),
                        "parameters": tool["input_schema"],
                    },
                }
                for tool in request.tools
            ]
        if "stop_sequences" in inference:
            given["stop"] = inference["stop_sequences"]
        return given | {name: inference[name] for name in OWN_PARAMETERS if name in inference}


class _Heard:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.began = False
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._stop: str | None = None
        self._usage: Any = None
        self._model = ""

    def take(self, chunk: Any, on_text: Callable[[str], None]) -> None:
        self.began = True
        self._usage = getattr(chunk, "usage", None) or self._usage
        self._model = str(getattr(chunk, "model", "") or self._model)
        for choice in chunk.choices[:1]:
            self._stop = choice.finish_reason or self._stop
            delta = choice.delta
            if delta is None:
                continue
            if delta.content:
                self._text.append(delta.content)
                on_text(delta.content)
            if getattr(delta, "refusal", None):
                self._refusal.append(delta.refusal)
            for call in delta.tool_calls or []:
                kept = self._calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                kept["id"] = call.id or kept["id"]
                kept["name"] += (call.function.name or "") if call.function else ""
                kept["arguments"] += (call.function.arguments or "") if call.function else ""

    def turn(self, request: ModelRequest) -> ModelTurn:
        if self._stop is None:
            raise lost(request.model.name, EOFError("the stream ended early"))
        stop = STOPS.get(self._stop, self._stop)
        content: list[dict[str, Any]] = [{"type": "text", "text": "".join(self._text)}] if self._text else []
        for n, call in sorted(self._calls.items()):
            arguments = _arguments_of(call["arguments"]) if stop != "max_tokens" else {}
            content.append(
                {"type": "tool_use", "id": call["id"] or f"call_{n}", "name": call["name"], "input": arguments}
            )
        if self._calls and stop == "end_turn":
            stop = "tool_use"  # some servers say `stop` beside calls
        if self._refusal:
            stop = "refusal"
        return ModelTurn(
            content,
            stop,
            self._counted(request, content),
            self._model or request.model.id,
            "".join(self._refusal),
            self._usage is not None,
        )

    def _counted(self, request: ModelRequest, content: list[dict[str, Any]]) -> Usage:
        usage = self._usage
        if usage is None:  # an estimate, of which no cost is made
            given = [request.system, request.tools, request.messages]
            return Usage(*(1 + len(json.dumps(part)) // CHARACTERS for part in (given, content)))
        details = getattr(usage, "prompt_tokens_details", None)
        cached = int(getattr(details, "cached_tokens", 0) or 0)
        return Usage(max(0, int(usage.prompt_tokens or 0) - cached), int(usage.completion_tokens or 0), cached, 0)


def _arguments_of(text: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text or "{}")
    except ValueError:
        found = None
    # The tool's schema will say what is wrong with it.
    return found if isinstance(found, dict) else {"arguments": text}


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    for message in request.messages:
        content: Any = message["content"]
        if isinstance(content, str):
            told.append({"role": message["role"], "content": content})
        elif message["role"] == "assistant":
            told.append(_assistant(content))
        else:
            told += [
                {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
                for block in content
                if block["type"] == "tool_result"
            ]
            told += [{"role": "user", "content": block["text"]} for block in content if block["type"] == "text"]
    return told


def _assistant(content: list[dict[str, Any]]) -> dict[str, Any]:
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in content
        if block["type"] == "tool_use"
    ]
    return {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})
