"""All attacks at one level, with this interpreter, as this user, in these surroundings: LEVEL FOLDER.

LEVEL `auto` takes what the machine gives. Prints one JSON object, with `unavailable` if the level cannot be had.
"""

import asyncio
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from attack_world import SECRET_NAME, SECRET_VALUE, World
from attacks import Attacker
from confined import RAW_ENTRY, RAW_GUEST
from stepwell.errors import SandboxUnavailable
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.launch import LEVELS
from stepwell_sandbox.levels import climb, start_proven
from stepwell_sandbox.link import Link, Machine
from stepwell_sandbox.scratch import Folder


async def start(level: str, machine: Machine) -> Link:
    if level != "auto":
        return await start_proven(LEVELS[level], machine)
    report, link = await climb("C", machine)
    if not isinstance(link, Link):
        raise SandboxUnavailable(report.refusal)
    return link


async def attack(level: str, root: Path) -> dict[str, Any]:
    folder = Folder(root / "sandbox", (RAW_GUEST,))
    try:
        link = await start(level, Machine(find_interpreter(), folder, RAW_ENTRY))
    except SandboxUnavailable as error:
        folder.remove()
        return {"unavailable": error.message}
    world = World(root / "world")
    try:
        trial = await Attacker(link, world).run_all()
    finally:
        world.close()
        await link.close()
        folder.remove()
    return {
        "level": trial.level,
        "stopped": len(trial.stopped),
        "losses": trial.losses,
        "escapes": trial.escapes,
        "skipped": trial.skipped,
        "stall_s": round(trial.longest_stall_s, 2),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "user": os.getuid(),
    }


if __name__ == "__main__":
    os.environ[SECRET_NAME] = SECRET_VALUE
    root = Path(sys.argv[2])
    root.mkdir(parents=True, exist_ok=True)
    print(json.dumps(asyncio.run(attack(sys.argv[1], root))))
