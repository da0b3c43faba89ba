"""Turns of Anthropic's Messages API."""

from collections.abc import Callable
from typing import Any, cast

import anthropic

from stepwell.errors import ModelFailure
from stepwell.models.failures import is_unsent, lost, status_failure, unreached
from stepwell.ports.models import ModelRequest, ModelTurn, Usage

CACHE = {"type": "ephemeral"}
SAMPLING = ("temperature", "top_p", "top_k")  # the SDK has no arguments for them: newer models refuse them
DROPPED = ("parsed_output", "caller")  # what the SDK or a provider adds to a block, and does not take back


class AnthropicClient:
    """Asks one endpoint with one key. The engine tries again by itself, so the SDK does not."""

    def __init__(self, api_base: str | None, key: str) -> None:
        self._client = anthropic.AsyncAnthropic(api_key=key, base_url=api_base, max_retries=0)

    async def ask(self, request: ModelRequest, timeout_s: float, on_text: Callable[[str], None]) -> ModelTurn:
        """Ask once; see `Models.ask`."""
        name, began, arguments = request.model.name, False, _arguments(request)
        try:
            async with self._client.messages.stream(**arguments, timeout=timeout_s) as stream:
                async for event in stream:
                    began = True
                    if event.type == "text":
                        on_text(event.text)
                message: Any = await stream.get_final_message()
        except anthropic.APIStatusError as error:
            raise status_failure(name, error, streaming=began or error.status_code < 400) from error
        except anthropic.APIConnectionError as error:
            raise (unreached if is_unsent(error) else lost)(name, error) from error
        except (ModelFailure, TimeoutError):
            raise
        except Exception as error:  # the SDK's and the transport's: a broken stream fails in many ways
            raise lost(name, error) from error
        if message.stop_reason is None:
            raise lost(name, EOFError("the stream ended early"))
        return _turn(message)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def _arguments(request: ModelRequest) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": request.model.id,
        "max_tokens": request.max_tokens,
        "messages": _cached(request.messages),
    }
    if request.system:
        # What comes before a mark is kept by the provider: tools and instructions, then all turns so far.
        given["system"] = [{"type": "text", "text": request.system, "cache_control": CACHE}]
    if request.tools:
        given["tools"] = request.tools
    if "stop_sequences" in request.inference:
        given["stop_sequences"] = request.inference["stop_sequences"]
    sampling = {name: request.inference[name] for name in SAMPLING if name in request.inference}
    return given | ({"extra_body": sampling} if sampling else {})


def _cached(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    *earlier, last = messages
    content = last["content"]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    if blocks and blocks[-1]["type"] in ("text", "tool_result") and blocks[-1].get("text") != "":
        blocks[-1] = blocks[-1] | {"cache_control": CACHE}
    return [*earlier, last | {"content": blocks}]


def _turn(message: Any) -> ModelTurn:
    usage = message.usage
    content = [block.model_dump(mode="json", exclude_none=True) for block in message.content]
    details: Any = getattr(message, "stop_details", None)
    return ModelTurn(
        [{key: value for key, value in block.items() if key not in DROPPED} for block in content],
        cast(str, message.stop_reason),
        Usage(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens or 0,
            usage.cache_creation_input_tokens or 0,
        ),
        str(message.model),
        str(getattr(details, "explanation", None) or getattr(details, "category", None) or ""),
    )
