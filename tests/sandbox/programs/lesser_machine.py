"""Run one guest where the kernel refuses some system calls, and print what came of it: NUMBERS MINIMUM FOLDER."""

import asyncio
import json
import os
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from confined import RAW_ENTRY, RAW_GUEST, drive
from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox.confine import libc, seccomp
from stepwell_sandbox.confine.bpf import ALLOW, ERRNO, JUMP_EQUAL, LOAD, RETURN, Program
from stepwell_sandbox.sandbox import ConfinedSandbox

EPERM = 1


def refuse(numbers: list[int]) -> None:
    """Make these calls fail in this process and all it starts."""
    steps = [(LOAD, 0, 0, 0)]
    for number in numbers:
        steps += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | EPERM)]
    steps.append((RETURN, 0, 0, ALLOW))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(Program(b"".join(struct.pack("=HBBI", *step) for step in steps), ()), os.getpid())


async def main(minimum: str, root: Path) -> dict[str, Any]:
    sandbox = ConfinedSandbox(minimum=minimum, scratch_root=root, guest_entry=RAW_ENTRY, guest_code=(RAW_GUEST,))
    async with sandbox:
        try:
            process = await sandbox.open(Limits())
        except SandboxUnavailable as error:
            return {"error": error.message, "hint": error.hint}
        ran = await drive(process, "def run(): return 41 + 1")
        return {"value": ran.value, "level": process.level, "report": asdict(await sandbox.report())}


refuse(json.loads(sys.argv[1]))
print(json.dumps(asyncio.run(main(sys.argv[2], Path(sys.argv[3])))))
