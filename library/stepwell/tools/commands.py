"""A recipe as a tool."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, ToolSpec
from stepwell.tools.bodies import decode_text, is_binary
from stepwell.tools.headers import with_own
from stepwell.tools.messages import clean, excerpt, failure
from stepwell.tools.network import NetworkPolicy, Refused, read_url
from stepwell.tools.processes import Command, Ended, run_command
from stepwell.tools.recipe_files import LoadedFile
from stepwell.tools.recipes import DEFAULT_RECIPE, CommandFile, ExitRule, Recipe
from stepwell.tools.scratch import scratch_directory
from stepwell.tools.tool import OutcomeUnknown
from stepwell.tools.words import Invocation, build, find_targets, make_schema

KEY_VARIABLE = "STEPWELL_IDEMPOTENCY_KEY"


class CommandTool:
    """One recipe of a command-line tool."""

    def __init__(self, file: LoadedFile, name: str, network: NetworkPolicy, slots: asyncio.Semaphore) -> None:
        self._path = file.path
        self._file: CommandFile = file.content
        self._recipe: Recipe = file.content.recipes[name]
        self._network = network
        self._slots = slots
        self.spec = ToolSpec(
            name=self._file.tool if name == DEFAULT_RECIPE else f"{self._file.tool}.{name}",
            description=self._recipe.description or self._file.description,
            schema=make_schema(self._file, self._recipe),
            returns="str" if self._recipe.returns == "text" else "Any",
            read_only=self._recipe.read_only,
            idempotent=self._recipe.idempotent,
            destructive=self._recipe.destructive,
            takes_key=("header",) if "headers" in self._recipe.takes else (),
        )

    def check(self, arguments: JsonObject) -> None:
        """Refuse values that cannot be passed on, and what is no URL where one is wanted."""
        complete = self._complete(arguments)
        with self._refusals():
            build(self._file, self._recipe, complete, find_targets(self._file, complete, read_url), {})

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the hosts of the URLs among the arguments, also of those that the recipe sets."""
        with self._refusals():
            return tuple(t.host for t in find_targets(self._file, self._complete(arguments), read_url).values())

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Run the command and return its output."""
        program = find_program(self._file.command, self._path)
        if program is None:
            raise failure(
                spec.name,
                f"{spec.name}: the command {self._file.command} is not installed on the host. {self._file.install}",
                code="not_installed",
                hint=self._file.install,
            )
        if context.headers and "headers" in self._recipe.takes:
            arguments = arguments | {"headers": with_own(arguments.get("headers", {}), context.headers)}
        invocation = await self._invocation(arguments, self._network.with_hosts(context.hosts))
        async with self._slots:
            ended = await self._run(spec, program, invocation, context.idempotency_key)
        return self._result(spec, ended)

    async def _invocation(self, arguments: JsonObject, network: NetworkPolicy) -> Invocation:
        complete = self._complete(arguments)
        with self._refusals():
            targets = find_targets(self._file, complete, network.check_url)
            addresses = {
                target.host: await network.find_addresses(target.host, target.port) for target in targets.values()
            }
            return build(self._file, self._recipe, complete, targets, addresses)

    async def _run(self, spec: ToolSpec, program: str, invocation: Invocation, key: str) -> Ended:
        async with scratch_directory() as scratch:
            command = Command(
                words=(program, *invocation.words),
                environment=self._environment(scratch) | {KEY_VARIABLE: key},
                directory=Path(self._file.directory) if self._file.directory else scratch,
                stdin=invocation.stdin,
                timeout_s=self._file.timeout_s,
                output_bytes=self._file.output_bytes,
                kill_on_overflow=spec.repeatable,
            )
            try:
                return await run_command(command)
            except OSError as error:
                message = f"{spec.name}: {self._file.command} could not be started: {error}"
                raise failure(spec.name, message, code="not_started", hint=self._file.install) from error

    def _complete(self, arguments: JsonObject) -> JsonObject:
        taken = {name: self._file.arguments[name].default for name in self._recipe.takes}
        known = {name: value for name, value in taken.items() if value is not None}
        return known | arguments | self._recipe.presets

    def _environment(self, scratch: Path) -> dict[str, str]:
        passed = {name: os.environ[name] for name in self._file.environment if name in os.environ}
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(scratch), "TMPDIR": str(scratch)} | passed

    def _result(self, spec: ToolSpec, ended: Ended) -> Json:
        name = spec.name
        rule = self._file.exits.get(ended.code, ExitRule())
        lost = _lost(self._file, ended, rule)
        if lost and not spec.repeatable:
            raise OutcomeUnknown(clean(f"{name}: {lost}"))
        if ended.timed_out:
            raise failure(name, f"{name}: {lost}", code="timeout", retryable=True)
        if ended.overflow:
            raise failure(name, f"{name}: the output is longer than {self._file.output_bytes} bytes", code="too_large")
        if ended.code not in self._file.success:
            raise _exit_failure(name, ended, rule)
        if is_binary(ended.stdout):
            message = f"{name}: the output is not text ({len(ended.stdout)} bytes)"
            raise failure(name, message, code="binary", hint="Tools return text only.")
        text = decode_text(ended.stdout, None)
        return _parse(name, text) if self._recipe.returns == "json" else text

    @contextmanager
    def _refusals(self) -> Generator[None, None, None]:
        try:
            yield
        except Refused as error:
            raise error.as_failure(self.spec.name) from error


def find_program(command: str, file: Path) -> str | None:
    """Return the program's path; None if it is not installed. `./x` is looked for beside the file."""
    if command.startswith("./"):
        command = str((file.parent / command).resolve())
    return shutil.which(command)


def _lost(file: CommandFile, ended: Ended, rule: ExitRule) -> str:
    """Say why nobody knows whether the command has had its effect; empty if it is known."""
    if ended.timed_out:
        return f"did not end within {file.timeout_s:g} s and was stopped"
    if ended.code < 0:
        return f"was ended by {_signal_name(-ended.code)}"
    if rule.unknown:
        return f"exit {ended.code}: {_tail(ended.stderr)}"
    return ""


def _exit_failure(name: str, ended: Ended, rule: ExitRule) -> ToolFailure:
    said = _tail(ended.stderr)
    ending = f"exit {ended.code}" if ended.code >= 0 else f"was ended by {_signal_name(-ended.code)}"
    parts = [f"{name}: {ending}", said, "" if is_binary(ended.stdout) else excerpt(ended.stdout)]
    matched = rule.retryable_if is not None and re.search(rule.retryable_if, said) is not None
    return failure(
        name,
        ": ".join(part for part in parts if part),
        code=rule.code,
        retryable=rule.retryable or matched,
    )


def _tail(stderr: bytes) -> str:
    return clean(stderr[-1000:].decode("utf-8", "replace"), 1000)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _parse(name: str, text: str) -> Json:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise failure(name, f"{name}: the output is no valid JSON: {error}", code="bad_answer") from error


def _refuse_constant(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")
