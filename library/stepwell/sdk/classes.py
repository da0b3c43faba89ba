"""The workflow's own classes, by the names under which the codec stores them."""

import sys
from typing import Any

from stepwell.sdk import codec


def find_class(name: str) -> type | None:
    """Return the class of a `codec.class_name`, where it is already imported."""
    module, _, qualified = name.rpartition(":")
    found: Any = sys.modules.get(module or codec.WORKFLOW_MODULE)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
