"""Before anything else: can this machine isolate a workflow?"""

import asyncio
import json
import sys
from typing import Any

DOCTOR = (sys.executable, "-m", "stepwell_server.cli", "doctor", "--output", "json")


class NotReady(Exception):
    """This machine cannot run workflows; the message says how to mend it."""


async def find_level(home: str) -> str:
    """Return the isolation level that runs will get, asking `stepwell doctor`.

    Raises:
        NotReady: there is none, or something else is missing.
    """
    process = await asyncio.create_subprocess_exec(
        *DOCTOR, "--home", home, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    try:
        report: dict[str, Any] = json.loads(out)
    except ValueError:
        raise NotReady(f"`stepwell doctor` gave no report: {said.decode(errors='replace').strip()}") from None
    if not report["ok"]:
        failed = [check for check in report["checks"] if check["verdict"] == "fail"]
        lines = [f"{check['name']}: {check['text']}\n{check['mend']}" for check in failed]
        raise NotReady("\n".join(["This machine is not ready; `stepwell doctor` says:", *lines]))
    return next(check["details"]["level"] for check in report["checks"] if check["name"] == "sandbox")
