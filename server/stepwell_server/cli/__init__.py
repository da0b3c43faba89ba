"""The command line."""

from stepwell_server.cli.root import main

__all__ = ["main"]
