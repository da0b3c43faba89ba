"""What `stepwell doctor` says of memory: what runs may use here, and whether some wait for it."""

import time

from stepwell.engine.lease import boot_id
from stepwell.errors import StepwellError
from stepwell.model import JsonObject
from stepwell.model.sizes import show_size
from stepwell.store import workers
from stepwell.store.database import open_database
from stepwell_sandbox.memory import available_bytes
from stepwell_server.app import memory_budget
from stepwell_server.cli.finding import Finding
from stepwell_server.home import Home
from stepwell_server.settings import Settings

FEW = 2  # runs that can use all that they may


async def examine_memory(home: Home, settings: Settings) -> list[Finding]:
    """Return what a server that is started now could give to runs, and how full those are that run."""
    available, budget, most = available_bytes(), memory_budget(settings), settings.limits.memory_bytes
    details: JsonObject = {"available_bytes": available, "budget_bytes": budget, "run_bytes": most}
    if budget is None:
        return [Finding("memory", "warn", "how much is available cannot be read here: runs are not queued for it")]
    text = f"runs of one server may use {show_size(budget)} together, {show_size(most)} each"
    text += "" if available is None else f"; {show_size(available)} are available now"
    if budget < FEW * most:
        mend = (
            "Runs are worked on one by one until it is known what they use. Lower memory_bytes under [limits] in "
            "stepwell.toml to what your workflows need, or raise memory_bytes under [workers]."
        )
        found = [Finding("memory", "warn", text, mend, details)]
    else:
        found = [Finding("memory", "ok", text, details=details)]
    return found + await _queues(home)


async def _queues(home: Home) -> list[Finding]:
    if not home.db.exists():
        return []
    try:
        async with open_database(home.db) as database:
            full = await database.read(lambda c: workers.list_fullness(c, boot_id(), time.monotonic()))
    except StepwellError:
        return []  # what is wrong with the store has been said
    crowded = [info for info in full if info.get("queue") == "memory"]
    return [
        Finding(
            "memory",
            "warn",
            f"runs are queued, waiting for memory: those under way count with {show_size(info['memory_bytes'])}",
            "They begin by themselves. `stepwell runs --status pending` lists them.",
            info,
        )
        for info in crowded
    ]
