"""Click commands that all take `--home` and `--output`, and groups that import a command when it is used."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from stepwell_server.cli.report import Invocation


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    # The same option of an enclosing command is kept unless this one is given too.
    invocation = ctx.obj or Invocation()
    ctx.obj = replace(invocation, **{str(param.name): value}) if value is not None else invocation


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--home"],
            metavar="DIR",
            help="Where everything is kept [default: $STEPWELL_HOME or the platform's data directory].",
            callback=_remember,
            expose_value=False,
        ),
        click.Option(
            ["--output"],
            type=click.Choice(["text", "json"]),
            help="How results are printed [default: text].",
            callback=_remember,
            expose_value=False,
        ),
    ]


class Command(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, params: list[click.Parameter] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, params=[*(params or []), *_shared_options()], **kwargs)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, so that `--help` needs to import none."""

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """A group with the shared options whose commands are imported on use."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        params = [*(kwargs.pop("params", None) or []), *_shared_options()]
        super().__init__(*args, params=params, **kwargs)
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are declared."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        return getattr(importlib.import_module(entry.module), entry.attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._entries.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: there is none of that name; near names are told.
        """
        name = args[0]
        if name in self._entries or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name[:48], self._entries, n=2)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"There is no command {name[:48]!r}.{meant}", ctx)
