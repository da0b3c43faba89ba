"""`stepwell workers`."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from stepwell.engine import WorkerItem
from stepwell.model.sizes import show_size
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.cli.text import columns, moment


@click.command(cls=Command)
@click.pass_obj
def workers(invocation: Invocation) -> None:
    """List the processes that execute runs of this home, and how many runs stand how."""

    async def load(app: App) -> tuple[Sequence[WorkerItem], dict[str, int]]:
        return await app.engine.workers(), await app.engine.counts()

    found, counts = in_app(invocation, load)
    lines = columns(
        (worker.id, f"pid {worker.pid}", "" if worker.alive else "gone", f"since {moment(worker.started_at)}",
         f"{worker.runs} runs", _memory(worker))
        for worker in found
    ) or ["No process executes runs of this home."]  # fmt: skip
    lines += [f"  {status:<11}{n}" for status, n in counts.items()]
    invocation.put({"workers": [asdict(worker) for worker in found], "runs": counts}, "\n".join(lines))


def _memory(worker: WorkerItem) -> str:
    budget = f" of {show_size(worker.memory_budget)}" if worker.memory_budget else ""
    waits = {"memory": "; others wait for memory", "slots": "; others wait for their turn"}.get(worker.queue, "")
    return f"memory {show_size(worker.memory_bytes)}{budget}{waits}"
