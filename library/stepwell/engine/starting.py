"""New runs: of clients, of other runs, and of ad hoc code."""

import re
import secrets
import time
import uuid
from typing import Any

import msgspec

from stepwell.engine.border import across_runs, plain
from stepwell.engine.budgeting import run_budget
from stepwell.engine.dispatch import Dispatcher
from stepwell.engine.forking import find_origin, start_again
from stepwell.engine.outcome import encode_plain
from stepwell.engine.pages import StartOptions
from stepwell.engine.reopening import reopen
from stepwell.engine.state import session_of
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import Json, JsonObject, RunStatus, Version
from stepwell.model.aside import Aside, size_of
from stepwell.ports import WorkflowSource
from stepwell.sdk import codec
from stepwell.store import forks, runs
from stepwell.store.database import Database
from stepwell.store.runs import NewRun, RunRow

MAX_DEPTH = 16  # of runs that invoke runs
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
REOPENED = (RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.DEAD)


class Starter:
    """Stores new runs and hands them to the dispatcher."""

    def __init__(
        self, database: Database, workflows: WorkflowSource, dispatcher: Dispatcher, per_run: float | None = None
    ) -> None:
        self._database = database
        self._workflows = workflows
        self._dispatcher = dispatcher
        self._aside = Aside()
        self._per_run = per_run
        """Dollars that the operator lets a run spend."""

    async def start(self, name: str, arguments: JsonObject, options: StartOptions) -> str:
        """Start a stored workflow; return the run's id.

        Raises:
            NotFound, InvalidArguments, Conflict: see `Engine.start`.
        """
        return await self._start(name, await self._workflows.current(name), arguments, options)

    async def start_code(self, code: str, arguments: JsonObject, options: StartOptions) -> str:
        """Start code that is not stored under a name."""
        version = self._workflows.analyse_code(code)
        await self._workflows.add_version(version)
        return await self._start(runs.CODE_NAME, version, arguments, options)

    async def start_again(
        self, run_id: str, options: StartOptions, *, name: str | None = None, from_step: str | None = None
    ) -> str:
        """Start a new run with the input of one that has ended; return its id.

        Raises:
            NotFound, InvalidArguments, Conflict: see `Engine.start_again`.
        """
        _check_id(options)
        origin = await find_origin(self._database, self._workflows, run_id, name=name, from_step=from_step)
        return await start_again(self._database, self._workflows, self._dispatcher, origin, options)

    async def start_child(
        self,
        parent: RunRow,
        key: str,
        name: str,
        args: list[Json],
        kwargs: JsonObject,
        *,
        detached: bool,
        again: bool,
        cuts: int,
    ) -> str:
        """Start a workflow from another run; the same call gives the same run.

        Raises:
            NotFound: no workflow of that name.
            InvalidArguments: they do not fit, or the chain of invocations is too long.
        """
        child_id, known = await self._find_child(parent, key, cuts)
        if known is not None:
            if again and known.status in REOPENED:
                await self._database.write(lambda c: reopen(c, known, via=f"parent:{parent.id}"))
                self._dispatcher.kick()
            elif again and known.cancel_reason is not None:
                # Its parent was ending when it was asked to; now it is wanted again.
                await self._database.write(lambda c: runs.take_cancel_back(c, child_id))
            return child_id
        chain = (*parent.chain, parent.workflow)
        if len(chain) >= MAX_DEPTH:
            raise InvalidArguments(
                f"workflows invoke each other {len(chain)} deep: {' -> '.join((*chain, name))}",
                hint=f"At most {MAX_DEPTH}; does one of them invoke itself without an end?",
            )
        # A run keeps the version of what it invokes from the first time on, also if that is replaced or deleted.
        used = await self._database.read(lambda c: forks.find_used_version(c, parent, name))
        version = await self._workflows.current(name) if used is None else await self._workflows.version(used)
        given = _named(version, args, kwargs)
        encoded = msgspec.json.encode(given)
        await self._workflows.check(version, await self._aside.run(len(encoded), plain, given))
        data = await self._aside.run(len(encoded), across_runs, encoded)
        budget = run_budget(None, version.options, self._per_run)
        inherited = {"budget_usd": budget, "turns_from": parent.options.get("turns_from")}
        run = NewRun(
            child_id, name, version.hash, data, secrets.token_hex(32), time.time(),
            None if detached else parent.id, None if detached else key, parent.root_id, len(chain), chain,
            parent.session_id if detached else session_of(parent), parent.user_id,
            options={name: value for name, value in inherited.items() if value is not None},
        )  # fmt: skip
        await self._dispatcher.start(run)
        return child_id

    async def _find_child(self, parent: RunRow, key: str, cuts: int) -> tuple[str, RunRow | None]:
        digest = codec.digest([parent.id, key, cuts] if cuts else [parent.id, key])
        short = f"{parent.root_id}.{digest[:10]}"
        known = await self._database.read(lambda c: runs.find_run(c, short))
        if known is None or known.parent_id is None or (known.parent_id, known.parent_key) == (parent.id, key):
            return short, known
        # One of a hundred thousand children has the id of another; it must not be taken for it.
        child_id = f"{parent.root_id}.{digest}"
        return child_id, await self._database.read(lambda c: runs.find_run(c, child_id))

    async def _start(self, name: str, version: Version, arguments: JsonObject, options: StartOptions) -> str:
        arguments = await self._workflows.check(version, arguments)
        data = await self._aside.run(size_of(arguments), encode_plain, arguments)
        found = await self._find_started(name, version, data, options)
        if found is not None:
            return found
        run_id = options.run_id or f"r-{uuid.uuid4().hex[:12]}"
        extras: dict[str, Any] = {
            "budget_usd": run_budget(options.budget_usd, version.options, self._per_run),
            "turns_from": options.turns_from, "pool": options.pool, "labels": options.labels or None,
        }  # fmt: skip
        run = NewRun(
            run_id, name, version.hash, data, secrets.token_hex(32), time.time(),
            session_id=options.session_id, user_id=options.user_id, idempotency_key=options.idempotency_key,
            options={key: value for key, value in extras.items() if value is not None},
        )  # fmt: skip
        if not await self._dispatcher.start(run):
            # Somebody else was faster with the same id or key.
            return await self._find_started(name, version, data, options) or run_id
        return run_id

    async def _find_started(self, name: str, version: Version, data: bytes, options: StartOptions) -> str | None:
        _check_id(options)
        run_id, key = options.run_id, options.idempotency_key
        row = None
        if run_id is not None:
            row = await self._database.read(lambda c: runs.find_run(c, run_id))
        if row is None and key is not None:
            row = await self._database.read(lambda c: runs.find_by_idempotency(c, name, key))
        if row is None:
            return None
        if row.workflow != name or _complete(version, row.input) != _complete(version, data):
            what = f"run_id {run_id!r}" if row.id == run_id else f"idempotency_key {key!r}"
            raise Conflict(
                f"{what} belongs to a run of {row.workflow!r} with other arguments",
                hint="Use another one, or none; the same workflow and arguments give the same run back.",
            )
        return row.id


def _check_id(options: StartOptions) -> None:
    if options.run_id is not None and not RUN_ID.fullmatch(options.run_id):
        raise InvalidArguments("run_id is 1 to 128 letters, digits and . _ : - beginning with a letter or digit")


def _complete(version: Version, data: bytes) -> JsonObject:
    defaults = {parameter.name: parameter.default for parameter in version.parameters if parameter.has_default}
    return defaults | msgspec.json.decode(data)


def _named(version: Version, args: list[Json], kwargs: JsonObject) -> JsonObject:
    names = [parameter.name for parameter in version.parameters]
    if len(args) > len(names):
        raise InvalidArguments(
            f"{len(args)} positional inputs for {len(names)} parameters", hint=f"It is {version.signature}."
        )
    given = dict(zip(names, args, strict=False))
    twice = sorted(given.keys() & kwargs.keys())
    if twice:
        raise InvalidArguments(f"{', '.join(twice)}: given twice", hint=f"It is {version.signature}.")
    return given | kwargs
