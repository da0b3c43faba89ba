"""The first code of a guest after its process is confined: one workflow, from start frame to result."""

import gc
import inspect
import os
import types
from collections.abc import Callable
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.agent_nodes import AgentNode
from stepwell.sdk.classes import find_class
from stepwell.sdk.exceptions import ApprovalDenied, NonDeterminismError
from stepwell.sdk.runtime import RunInfo, bind
from stepwell.sdk.scope import Scope, enter_scope
from stepwell.sdk.workflow import Workflow
from stepwell_sandbox.guest import chance, failure, loaded, output, program, streams, virtual, waits
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.pending import origin_key
from stepwell_sandbox.guest.replay import Replay
from stepwell_sandbox.guest.runtime import GuestRuntime
from stepwell_sandbox.wire import GUEST_FD

PROTOCOL = 1
MAX_CODE = 512 * 1024  # characters; what is larger is compiled each time


def main(fd: int = GUEST_FD, packages: str = "", seal: Callable[[], None] | None = None) -> None:
    """Say that the process is ready, run one workflow, end the process. Never returns.

    It may import from the folder `packages`; `seal` is called before its code begins.
    """
    channel = Channel(fd)
    channel.send({"t": "ready", "protocol": PROTOCOL})
    start, replay = _read_start(channel)
    runtime = begin(channel, start, replay, packages, seal)
    last = execute(runtime, start)
    output.flush()
    runtime.finish(last)


def begin(
    channel: Channel, start: dict[str, Any], replay: Replay, packages: str = "", seal: Callable[[], None] | None = None
) -> GuestRuntime:
    """Make this process the one of a run."""
    info = RunInfo(start["run_id"], start["workflow"], start["attempt"], start.get("session_id"), start.get("user_id"))
    runtime = GuestRuntime(channel, info, replay, start["seed"], start["created_at"], start["mode"])
    runtime.careful = start.get("durability") == "step"
    bind(runtime)
    virtual.prepare()
    streams.begin(runtime.readings)
    if packages:
        loaded.load(packages, start["source"], runtime.readings)
        output.prepare()
    if seal is not None:
        seal()
    if runtime.rehearsing:
        runtime.rehearse()
    enter_scope(Scope())
    chance.bound_threads(start.get("threads", 64))
    output.capture(channel, runtime.repeats_output)
    waits.install(runtime, runtime.loop.run)
    return runtime


def execute(runtime: GuestRuntime, start: dict[str, Any]) -> dict[str, Any]:
    """Run the workflow; return its last frame."""
    try:
        value = codec.encode(_run(runtime, start), "the workflow's result")
        runtime.check_complete()
    except NonDeterminismError as error:
        return error.describe()
    except ApprovalDenied as error:
        return {"t": "failed", "error": failure.describe(error) | {"code": "rejected", "key": origin_key(error)}}
    except BaseException as error:  # noqa: BLE001  the author's code; whatever it is, it is the run's result
        return {"t": "failed", "error": failure.describe(error) | {"key": origin_key(error)}}
    return {"t": "done", "value": value}


def _read_start(channel: Channel) -> tuple[dict[str, Any], Replay]:
    start: dict[str, Any] = {}
    replay = Replay()
    gc.disable()  # a journal is many objects of which none is garbage
    while True:
        for frame in channel.receive():
            if frame["t"] == "start":
                start = frame
            elif frame["t"] == "replay":
                replay.add(frame["entries"])
                if not frame["more"]:
                    gc.freeze()
                    gc.enable()
                    return start, replay
            else:
                os._exit(2)  # an outcome before any call: the host speaks another protocol


def _run(runtime: GuestRuntime, start: dict[str, Any]) -> Any:
    inputs: dict[str, Any] = codec.decode(start["inputs"], find_class)
    script = start["entry_kind"] == "script"
    names = program.load(start["source"], inputs if script else {}).__dict__
    code = _code(runtime.channel, start, script=script)
    if script:
        value = eval(code, names)  # noqa: S307  the workflow: this process exists to run it
        if inspect.isawaitable(value):
            runtime.loop.run(_await(value))
        return names.get(program.RESULT)
    exec(code, names)  # noqa: S102  the workflow: this process exists to run it
    if start["entry_kind"] == "workflow_object":
        return runtime.loop.run(_run_object(names[start["entry"]], inputs))
    call = program.bind_entry(names[start["entry"]], start["context_parameters"], inputs)
    if inspect.iscoroutinefunction(names[start["entry"]]):
        return runtime.loop.run(_await_call(call))
    value = call()
    return runtime.loop.run(_await(value)) if inspect.isawaitable(value) else value


def _code(channel: Channel, start: dict[str, Any], *, script: bool) -> types.CodeType:
    known: str = start.get("code", "")
    if known and (code := program.read_code(known)) is not None:
        return code
    code = program.compile_source(start["source"], script=script)
    if start.get("tells_code") and len(text := program.write_code(code)) <= MAX_CODE:
        channel.send({"t": "compiled", "code": text})
    return code


async def _run_object(found: Workflow | AgentNode, inputs: dict[str, Any]) -> Any:
    if isinstance(found, AgentNode) or found.steps is not None:
        return await found.run_stored(inputs)
    pipeline = found.pipeline
    first = pipeline.steps[0].fn if pipeline.steps else None
    return await pipeline.run(inputs if first is None else program.typed(first, inputs))


async def _await(value: Any) -> Any:
    return await value


async def _await_call(call: Callable[[], Any]) -> Any:
    return await call()
