"""What workflow authors import. Only the standard library is loaded."""

from stepwell.sdk.agents import Agent, AgentResult, agents
from stepwell.sdk.batch import BatchResult
from stepwell.sdk.context import WorkflowContext, ctx
from stepwell.sdk.exceptions import AgentError, ApprovalDenied, BatchError, ChildFailed, ToolError
from stepwell.sdk.function_context import FunctionContext
from stepwell.sdk.functions import cron, event, function, webhook, workflow
from stepwell.sdk.handles import artifacts, tools, workflows
from stepwell.sdk.workflow import Workflow

__all__ = [
    "Agent",
    "AgentError",
    "AgentResult",
    "ApprovalDenied",
    "BatchError",
    "BatchResult",
    "ChildFailed",
    "FunctionContext",
    "ToolError",
    "Workflow",
    "WorkflowContext",
    "agents",
    "artifacts",
    "cron",
    "ctx",
    "event",
    "function",
    "tools",
    "webhook",
    "workflow",
    "workflows",
]
