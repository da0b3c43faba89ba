"""Logging of a serving process: plain lines on stderr."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logs() -> None:
    """Send warnings and errors of every part to stderr, unless the process has set logging up already."""
    logging.basicConfig(level=logging.WARNING, format=FORMAT, stream=sys.stderr)
