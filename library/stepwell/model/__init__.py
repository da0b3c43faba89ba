"""Values that the layers hand to each other: frozen, typed, free of behaviour."""

from stepwell.model.json import Json, JsonObject
from stepwell.model.run import LIVE, Decision, ErrorInfo, Run, RunStatus, Wait, WaitKind
from stepwell.model.workflow import Parameter, Version, Warn, Workflow

__all__ = [
    "LIVE",
    "Decision",
    "ErrorInfo",
    "Json",
    "JsonObject",
    "Parameter",
    "Run",
    "RunStatus",
    "Version",
    "Wait",
    "WaitKind",
    "Warn",
    "Workflow",
]
