"""What the library asks of the parts around it, and the frames it exchanges with a guest."""

from stepwell.ports import frames
from stepwell.ports.limits import Limits
from stepwell.ports.models import AgentSettings, Budgets, Model, ModelRequest, Models, ModelTurn, Price, Usage
from stepwell.ports.packages import Packages
from stepwell.ports.sandbox import Exit, GuestProcess, Sandbox
from stepwell.ports.tools import (
    Asker,
    Binary,
    CallContext,
    Caller,
    CallLimit,
    Gate,
    Inquiry,
    KeyPlace,
    Reply,
    Saver,
    Subject,
    Teller,
    ToolHost,
    ToolSpec,
)
from stepwell.ports.workflows import WorkflowSource

__all__ = [
    "AgentSettings",
    "Asker",
    "Binary",
    "Budgets",
    "CallContext",
    "CallLimit",
    "Caller",
    "Exit",
    "Gate",
    "GuestProcess",
    "Inquiry",
    "KeyPlace",
    "Limits",
    "Model",
    "ModelRequest",
    "ModelTurn",
    "Models",
    "Packages",
    "Price",
    "Reply",
    "Sandbox",
    "Saver",
    "Subject",
    "Teller",
    "ToolHost",
    "ToolSpec",
    "Usage",
    "WorkflowSource",
    "frames",
]
