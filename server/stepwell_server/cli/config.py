"""`stepwell config`: is the configuration right?"""

import click

from stepwell_server.cli.commands import Command, Entry, LazyGroup
from stepwell_server.cli.report import Invocation
from stepwell_server.home import Home, find_home
from stepwell_server.settings import load_settings

_ENTRIES = {"check": Entry("stepwell_server.cli.config", "check", "Name every mistake in stepwell.toml.")}


@click.command(cls=LazyGroup, entries=_ENTRIES)
def config() -> None:
    """Check the configuration."""


@click.command(cls=Command)
@click.pass_obj
def check(invocation: Invocation) -> None:
    """Name every mistake in the home's stepwell.toml with its line; exit code 1 if there is one."""
    path = Home(find_home(invocation.home)).config
    settings = load_settings(path)
    exists = path.is_file()
    data = {"path": str(path), "exists": exists, "settings": settings.model_dump(mode="json")}
    invocation.put(data, f"{path} is right." if exists else f"{path} does not exist; the defaults apply.")
