"""`tools/call` on a live link, in either era of the protocol."""

import asyncio
from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp.types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    CallToolRequest,
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
)
from pydantic import RootModel, ValidationError

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.tools.messages import clean, failure
from stepwell.tools.upstream.asking import as_inquiry, as_result
from stepwell.tools.upstream.link import Link
from stepwell.tools.upstream.wire import LOST, MAX_MESSAGE_BYTES, NO_JSON, TOO_LARGE, UNSENT

if TYPE_CHECKING:
    from stepwell.tools.upstream.tool import Asking

MAX_ROUNDS = 20  # of questions in one call
PAUSE_S = 0.25  # before a round without questions
# Texts of the SDK for requests whose answer cannot come any more; servers use the same code for errors of their own.
_LOST_TEXTS = ("Connection closed", "SSE stream", "broke the connection", "its gateway", "answered with a content")

_TOO_LARGE_EVENT = "SSE stream failed: Server-sent event exceeded"


class _Result(RootModel[dict[str, Any]]):
    """A result as it came, checked against the protocol before."""


class LinkLost(Exception):
    """The connection ended before the answer. `sent` says whether the server may have got the call."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Rejected(Exception):
    """The server refused the call before doing anything, and may take it the second time."""

    def __init__(self, message: str, *, relist: bool) -> None:
        super().__init__(message)
        self.relist = relist


async def call_tool(link: Link, name: str, arguments: JsonObject, meta: Any, asking: "Asking") -> JsonObject:
    """Return the server's result as it came; questions on the way are asked.

    Raises:
        LinkLost, Rejected: see there.
        ToolFailure: the server answered with an error of the protocol.
    """
    answers: dict[str, Any] | None = None
    state: str | None = None
    for _ in range(MAX_ROUNDS):
        params = CallToolRequestParams(
            name=name, arguments=arguments, input_responses=answers, request_state=state, _meta=meta
        )  # pyright: ignore[reportCallIssue]  pydantic's alias
        result = await _send(link, name, CallToolRequest(params=params), asking)
        if result.get("resultType", "complete") == "complete":
            return result
        required = _read_required(name, result)
        state = required.request_state
        if required.input_requests:
            answers = {key: await _answer(name, asked, asking) for key, asked in required.input_requests.items()}
        else:
            answers = None
            await asyncio.sleep(PAUSE_S)
    raise failure(name, f"{name}: asked more than {MAX_ROUNDS} times", code="bad_answer")


async def _send(link: Link, name: str, request: CallToolRequest, asking: "Asking") -> JsonObject:
    if link.ended.is_set():
        raise LinkLost("the connection has ended", sent=False)
    try:
        answer = await link.client.session.send_request(request, _Result, progress_callback=asking.told)
    except MCPError as error:
        raise _translated(link, name, error) from error
    except ValidationError as error:
        raise failure(
            name, f"{name}: its answer is no valid result: {error.error_count()} mistakes", code="bad_answer"
        ) from error
    return answer.root


def _translated(link: Link, name: str, error: MCPError) -> Exception:
    code, said = error.error.code, clean(error.error.message, 1000)
    if code == UNSENT:
        return LinkLost(said, sent=False)
    if code == TOO_LARGE or said.startswith(_TOO_LARGE_EVENT):
        return failure(name, f"{name}: its answer is longer than {MAX_MESSAGE_BYTES} bytes", code="too_large")
    if code == LOST and said.startswith(_LOST_TEXTS):
        return LinkLost("the connection ended before the answer" if said == "Connection closed" else said)
    if said == "Session terminated":
        link.ended.set()
        return Rejected("the server has ended the session", relist=False)
    if code == HEADER_MISMATCH:
        return Rejected(said, relist=True)
    if said.startswith(NO_JSON):
        return failure(name, f"{name}: its answer is no valid JSON", code="bad_answer")
    if code == INVALID_PARAMS:
        return failure(name, f"{name}: {said}", code="invalid_arguments")
    return failure(name, f"{name}: {said or 'failed'} (JSON-RPC error {code})", code="tool_error")


def _read_required(name: str, result: JsonObject) -> InputRequiredResult:
    if result.get("resultType") != "input_required":
        kind = clean(str(result.get("resultType")), 40)
        raise failure(name, f"{name}: answered with a {kind!r}, which is not supported here", code="bad_answer")
    try:
        return InputRequiredResult.model_validate(result, by_name=False)
    except ValidationError as error:
        raise failure(name, f"{name}: its question cannot be read", code="bad_answer") from error


async def _answer(name: str, asked: Any, asking: "Asking") -> Any:
    if isinstance(asked, ElicitRequest) and isinstance(asked.params, ElicitRequestFormParams):
        return as_result(await asking.ask(as_inquiry(asked.params)))
    raise _unsupported(name, str(getattr(asked, "method", "")))


def _unsupported(name: str, method: str) -> ToolFailure:
    return failure(name, f"{name}: asks for {clean(method, 60)}, which is not supported here", code="not_supported")
