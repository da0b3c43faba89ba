"""`stepwell version`."""

import platform
from importlib.metadata import version as installed_version

import click

from stepwell_server.cli.commands import Command
from stepwell_server.cli.report import Invocation


@click.command(cls=Command)
@click.pass_obj
def version(invocation: Invocation) -> None:
    """Print the versions of Stepwell and Python."""
    found = installed_version("stepwell")
    data = {"stepwell": found, "python": platform.python_version(), "platform": platform.platform()}
    invocation.put(data, f"stepwell {found} (Python {data['python']}, {data['platform']})")
