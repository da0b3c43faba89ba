"""An engine put together from its parts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from stepwell.engine.control import Control
from stepwell.engine.dispatch import Dispatcher
from stepwell.engine.engine import Engine
from stepwell.engine.lease import WorkerLock
from stepwell.engine.live import Signals
from stepwell.engine.memory import Memory
from stepwell.engine.recorder import Recorder
from stepwell.engine.services import HostFunctions, Services
from stepwell.engine.starting import Starter
from stepwell.engine.throttle import Throttle
from stepwell.model.durability import Durability
from stepwell.ports import Limits, Models, Packages, Sandbox, ToolHost, WorkflowSource
from stepwell.ports.limits import ArtifactLimits
from stepwell.store.database import Database


@asynccontextmanager
async def open_engine(
    database: Database,
    *,
    sandbox: Sandbox,
    workflows: WorkflowSource,
    tools: ToolHost,
    functions: HostFunctions,
    packages: Packages,
    models: Models,
    limits: Limits,
    artifacts: ArtifactLimits,
    locks: Path,
    slots: int,
    memory: Memory,
    durability: Durability = "group",
    execute: bool = True,
) -> AsyncGenerator[Engine, None]:
    """Give an engine; with `execute` this process works on runs until the context closes, then hands them over."""
    lock = WorkerLock(locks)
    recorder = Recorder(database, lock.worker, commits := Signals())
    throttle = Throttle(database, lock.worker)
    services = Services(
        database, recorder, sandbox, workflows, tools, functions, packages, models, limits, artifacts, lock.worker,
        locks, Signals(), Signals(), commits, memory, throttle, durability,
    )  # fmt: skip
    dispatcher = Dispatcher(services, slots if execute else 0)
    starter = Starter(database, workflows, dispatcher, models.budgets.per_run)
    engine = Engine(services, starter)
    services.runs = Control(starter, dispatcher)
    try:
        async with recorder.serve():
            if execute:
                async with dispatcher.serve():
                    yield engine
            else:
                yield engine
    finally:
        await throttle.close()
        lock.release()
