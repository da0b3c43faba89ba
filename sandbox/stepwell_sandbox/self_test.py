"""The host's side of a self-test: one question to a process that was started to answer it."""

import os
from typing import Any

import msgspec

from stepwell.errors import SandboxUnavailable
from stepwell.ports.frames import Done, Start
from stepwell_sandbox.process import ConfinedProcess
from stepwell_sandbox.scratch import Folder

ANSWER_S = 15.0


async def ask(process: ConfinedProcess, folder: Folder, outside: list[str], **more: Any) -> list[str]:
    """Return what a confined process could do and must not; it is closed then.

    Args:
        process: It runs a self-test.
        folder: Of the sandbox.
        outside: Files of the host that it must not be able to read, besides those of the folder.
        more: What the self-test of this system takes besides.

    Raises:
        SandboxUnavailable: it ended without an answer.
    """
    try:
        inputs = {
            "outside": [str(folder.path / "lock"), *outside],
            "beside": str(folder.path / "probe"),
            "host_pid": os.getpid(),
        }
        told = msgspec.Raw(msgspec.json.encode(inputs | more))
        await process.send(Start("probe", "probe", "", "probe", "function", told, "", 0.0, 1))
        for frame in await process.receive():
            if isinstance(frame, Done):
                return msgspec.json.decode(frame.value, type=list[str])
        raise SandboxUnavailable("a confined process ended without a result, perhaps as another program")
    finally:
        await process.close()
