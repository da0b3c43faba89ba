"""What workflow authors import. Only the standard library is loaded."""

from stepwell.sdk.agent_nodes import ConditionalAgent, LoopAgent, ParallelAgent, SequentialAgent
from stepwell.sdk.agents import Agent, AgentResult, agents
from stepwell.sdk.batch import BatchResult
from stepwell.sdk.composing import Condition, Loop, Parallel, Router
from stepwell.sdk.context import WorkflowContext, ctx
from stepwell.sdk.exceptions import AgentError, ApprovalDenied, BatchError, ChildFailed, ToolError
from stepwell.sdk.function_context import FunctionContext
from stepwell.sdk.functions import cron, event, function, webhook, workflow
from stepwell.sdk.handles import artifacts, tools, workflows
from stepwell.sdk.node_events import (
    LoopIterationEvent,
    StepCompletedEvent,
    StepErrorEvent,
    StepSkippedEvent,
    StepStartedEvent,
    WorkflowCompletedEvent,
    WorkflowErrorEvent,
    WorkflowStartedEvent,
)
from stepwell.sdk.node_values import RunOutput, StepInput, StepOutput, WorkflowOutput
from stepwell.sdk.nodes import Step, Steps
from stepwell.sdk.teams import Team, TeamResult
from stepwell.sdk.workflow import Workflow

__all__ = [
    "Agent",
    "AgentError",
    "AgentResult",
    "ApprovalDenied",
    "BatchError",
    "BatchResult",
    "ChildFailed",
    "Condition",
    "ConditionalAgent",
    "FunctionContext",
    "Loop",
    "LoopAgent",
    "LoopIterationEvent",
    "Parallel",
    "ParallelAgent",
    "Router",
    "RunOutput",
    "SequentialAgent",
    "Step",
    "StepCompletedEvent",
    "StepErrorEvent",
    "StepInput",
    "StepOutput",
    "StepSkippedEvent",
    "StepStartedEvent",
    "Steps",
    "Team",
    "TeamResult",
    "ToolError",
    "Workflow",
    "WorkflowCompletedEvent",
    "WorkflowContext",
    "WorkflowErrorEvent",
    "WorkflowOutput",
    "WorkflowStartedEvent",
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
