"""The names of Definable's page: agents and workflows of nodes, which are the native ones."""

from stepwell.sdk.agents import Agent
from stepwell.sdk.composing import Condition, Loop, Parallel, Router
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
from stepwell.sdk.teams import Team
from stepwell.sdk.workflow import Workflow

__all__ = [
    "Agent",
    "Condition",
    "Loop",
    "LoopIterationEvent",
    "Parallel",
    "Router",
    "RunOutput",
    "Step",
    "StepCompletedEvent",
    "StepErrorEvent",
    "StepInput",
    "StepOutput",
    "StepSkippedEvent",
    "StepStartedEvent",
    "Steps",
    "Team",
    "Workflow",
    "WorkflowCompletedEvent",
    "WorkflowErrorEvent",
    "WorkflowOutput",
    "WorkflowStartedEvent",
]
