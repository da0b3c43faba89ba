"""Secrets: known to the host only, put in at the call, and hidden in whatever comes back."""

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from urllib.parse import quote

from stepwell.errors import HostNeeded, ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.model.secret_names import SECRET, list_secret_names
from stepwell.ports import Binary, CallContext, Inquiry, Reply
from stepwell.tools.messages import failure
from stepwell.tools.network import host_matches
from stepwell.tools.redaction import Redactor
from stepwell.tools.secret_sources import FromCommand, FromKeyring, Source, Unreadable, read_secret
from stepwell.tools.tool import OutcomeUnknown

KEPT_S = 300.0  # for which a value from a command or the keyring is used without asking again
FAILED_S = 10.0  # for which one that could not be had is not asked for again
MAX_TRIED = 4  # secrets that are read at one time where all are tried
LARGE = 64 * 1024  # characters of a result that is looked through beside the event loop

_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SecretRule:
    """Where a secret comes from, and where it may go. All that are given must fit a call."""

    source: Source
    tools: tuple[str, ...] = ()
    """Patterns over dotted names; empty: any."""
    hosts: tuple[str, ...] = ()
    """As in the list of hosts; empty: any. With hosts, only calls whose arguments name their host."""
    arguments: tuple[str, ...] = ()
    """Patterns over places in the arguments, such as `headers.*`; empty: any."""


class Secrets:
    """The secrets of this host."""

    def __init__(self, rules: Mapping[str, SecretRule] | None = None) -> None:
        self._rules = dict(rules or {})
        self._redactor = Redactor()
        self._kept: dict[str, tuple[float, str]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._reading = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def check(self, tool: str, hosts: tuple[str, ...], arguments: JsonObject, named: tuple[str, ...] | None) -> None:
        """Refuse a call whose arguments name a secret that may not go there; `named` are those of the source.

        Raises:
            ToolFailure: code `not_allowed`, `not_declared` or `unknown_secret`.
        """
        for place, name in _list_places(arguments):
            rule = self._rules.get(name)
            if rule is None:
                raise failure(
                    tool,
                    f"{tool}: there is no secret {name}",
                    code="unknown_secret",
                    hint=f"The operator can add it in stepwell.toml: [secrets.{name}].",
                )
            if named is not None and name not in named:
                raise failure(
                    tool,
                    f"{tool}: the arguments name the secret {name}, and the workflow's source does not",
                    code="not_declared",
                    hint=f"Write {{{{secret:{name}}}}} in the source. Text that came from elsewhere cannot name it.",
                )
            if (wrong := _misfit(rule, tool, hosts, place)) is not None:
                raise failure(tool, f"{tool}: the secret {name} {wrong}", code="not_allowed")

    async def fill(self, tool: str, hosts: tuple[str, ...], arguments: JsonObject) -> JsonObject:
        """Return the arguments with the values of the secrets that they name.

        Raises:
            ToolFailure: as `check`, or code `secret_unavailable`.
        """
        self.check(tool, hosts, arguments, None)
        names = {name for _, name in _list_places(arguments)}
        values = {name: await self._read(tool, name) for name in sorted(names)}
        # Whoever a secret is bound to may know it from another call, and tell.
        for name, rule in self._rules.items():
            if name not in names and _misfit(rule, tool, hosts, None) is None:
                await self._learn(name)
        return _filled(arguments, values) if values else arguments

    async def reveal(self, text: str, owner: str, hosts: tuple[str, ...]) -> str:
        """Return a text of the operator's configuration with the values of the secrets that it names.

        `owner` is the namespace of the source that sends it, to `hosts`; none: it does not tell.

        Raises:
            ToolFailure: code `unknown_secret`, `not_allowed` or `secret_unavailable`; its tool is `owner`.
        """
        names = list_secret_names(text)
        for name in names:
            if (rule := self._rules.get(name)) is None:
                raise failure(owner, f"{owner}: there is no secret {name}", code="unknown_secret")
            if (wrong := misfit_of_source(rule, (owner,), hosts)) is not None:
                raise failure(owner, f"{owner}: the secret {name} {wrong}", code="not_allowed")
        values = {name: await self._read(owner, name) for name in names}
        return SECRET.sub(lambda match: values[match[1]], text)

    async def list_problems(self, within_s: float) -> dict[str, str]:
        """Read every secret, a few at one time; return why those that cannot be read cannot, without any value."""
        places = asyncio.Semaphore(MAX_TRIED)

        async def look(name: str) -> str:
            async with places:
                try:
                    self._redactor.learn(name, await read_secret(self._rules[name].source))
                except Unreadable as error:
                    return str(error)
            return ""

        looks = {name: asyncio.create_task(look(name)) for name in self._rules}
        late = (await asyncio.wait(looks.values(), timeout=within_s))[1] if looks else ()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        said = {name: f"no answer within {within_s:g} s" if t in late else t.result() for name, t in looks.items()}
        return {name: self._redactor.text(problem) for name, problem in said.items() if problem}

    async def hidden(self, value: Json) -> Json:
        """Return a result without secrets."""
        if not self._redactor:
            return value
        if (isinstance(value, str) and len(value) <= LARGE) or isinstance(value, bool | int | float | None):
            return self._redactor.value(value)
        return await asyncio.to_thread(self._redactor.value, value)

    def hide(self, error: Exception) -> Exception:
        """Return what to raise instead: the same without secrets, and without what caused it."""
        if isinstance(error, ToolFailure):
            if isinstance(error, HostNeeded) and self._redactor.text(error.host) == error.host:
                return error  # a host is shown to a person, and kept
            message, hint = self._redactor.text(error.message), self._redactor.text(error.hint)
            return ToolFailure(message, tool=error.tool, code=error.code, retryable=error.retryable, hint=hint)
        said = str(error) if isinstance(error, OutcomeUnknown) else f"{type(error).__name__}: {error}"
        return OutcomeUnknown(self._redactor.text(said))

    def guard(self, context: CallContext) -> CallContext:
        """Return the context through which a tool neither saves nor asks anything that holds a secret."""
        save, ask = context.save, context.ask

        async def save_hidden(found: Binary) -> JsonObject:
            assert save is not None
            return await save(Binary(await asyncio.to_thread(self._redactor.data, found.data), found.media_type))

        async def ask_hidden(inquiry: Inquiry) -> Reply:
            assert ask is not None
            return await ask(Inquiry(self._redactor.text(inquiry.prompt), self._redactor.value(inquiry.schema)))

        return replace(context, save=save and save_hidden, ask=ask and ask_hidden)

    async def _read(self, tool: str, name: str) -> str:
        try:
            return await self._value(name)
        except Unreadable as error:
            raise failure(
                tool,
                f"{tool}: the secret {name} cannot be read: {error}",
                code="secret_unavailable",
                hint=f"The operator can mend it: [secrets.{name}] in stepwell.toml.",
            ) from error

    async def _learn(self, name: str) -> None:
        try:
            await self._value(name)
        except Unreadable:
            return  # it is not needed here

    async def _value(self, name: str) -> str:
        source = self._rules[name].source
        if not isinstance(source, FromCommand | FromKeyring):
            value = await read_secret(source)
            self._redactor.learn(name, value)
            return value
        async with self._reading:  # one program, whatever the number of calls
            failed_at, problem = self._failed.get(name, (-FAILED_S, ""))
            if time.monotonic() - failed_at < FAILED_S:
                raise Unreadable(problem)
            read_at, value = self._kept.get(name, (-KEPT_S, ""))
            if time.monotonic() - read_at >= KEPT_S:
                try:
                    value = await read_secret(source)
                except Unreadable as error:  # each call to where it is bound would wait for it, one after the other
                    self._failed[name] = (time.monotonic(), str(error))
                    raise
                self._kept[name] = (time.monotonic(), value)
        self._redactor.learn(name, value)
        return value


def misfit_of_source(rule: SecretRule, names: Collection[str], hosts: tuple[str, ...] | None) -> str | None:
    """Return why a source of tools cannot have a secret in what is configured for it, None if it can.

    One of `names` is its namespace. `hosts` are where it sends what it has: none if it does not tell, None if nobody
    knows yet.
    """
    heads = [pattern.partition(".")[0] for pattern in rule.tools]
    if heads and not any(fnmatchcase(name, head) for name in names for head in heads):
        return f"may go to {', '.join(rule.tools)} only"
    return None if hosts is None else _misfit(replace(rule, tools=()), "", hosts, None)


def _misfit(rule: SecretRule, tool: str, hosts: tuple[str, ...], place: str | None) -> str | None:
    if rule.tools and not any(fnmatchcase(tool, pattern) for pattern in rule.tools):
        return f"may go to {', '.join(rule.tools)} only"
    if rule.hosts and not hosts:
        return f"may go to {', '.join(rule.hosts)} only, and this one does not tell where it goes"
    for host in hosts if rule.hosts else ():
        if not any(host_matches(host, pattern) for pattern in rule.hosts):
            return f"may go to {', '.join(rule.hosts)} only, not to {host}"
    if place is not None and rule.arguments and not any(fnmatchcase(place, p) for p in rule.arguments):
        return f"may stand in {', '.join(rule.arguments)} only, not in {place}"
    return None


def _list_places(arguments: JsonObject) -> Iterator[tuple[str, str]]:
    """Yield each named secret with its place: `headers.Authorization`, `items.0.key`."""
    waiting: list[tuple[str, Json]] = list(arguments.items())
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str) and "{{" in value:
            yield from ((place, match[1]) for match in SECRET.finditer(value))
        elif isinstance(value, dict):
            waiting += [(f"{place}.{key}", item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}.{n}", item) for n, item in enumerate(value)]


def _filled(arguments: JsonObject, values: Mapping[str, str]) -> JsonObject:
    return {key: _with_values(item, values) for key, item in arguments.items()}


def _with_values(value: Json, values: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        # In a URL a value must stay within the part of it where its name stands.
        encode: Callable[[str], str] = _for_url if _URL.match(value) else str
        return SECRET.sub(lambda match: encode(values[match[1]]), value) if "{{" in value else value
    if isinstance(value, list):
        return [_with_values(item, values) for item in value]
    return _filled(value, values) if isinstance(value, dict) else value


def _for_url(value: str) -> str:
    return quote(value, safe=":@!$'()*,~")
