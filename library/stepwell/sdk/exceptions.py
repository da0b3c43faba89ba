"""What workflow code can catch, and what ends it."""

from typing import Any


class ToolError(Exception):
    """A tool answered with an error, or was refused."""

    def __init__(self, message: str = "", *, tool: str = "", code: str = "tool_error", retryable: bool = False) -> None:
        super().__init__(message)
        self.tool = tool
        self.code = code
        self.retryable = retryable


class ChildFailed(Exception):
    """A workflow that this one invoked did not complete."""

    def __init__(self, message: str = "", *, workflow: str = "", run_id: str = "", code: str = "child_failed") -> None:
        super().__init__(message)
        self.workflow = workflow
        self.run_id = run_id
        self.code = code


class AgentError(Exception):
    """An agent came to no answer: `code` says why, `partial` is the text that it had."""

    def __init__(
        self,
        message: str = "",
        *,
        agent: str = "",
        code: str = "agent_error",
        partial: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.agent = agent
        self.code = code
        self.partial = partial
        self.retryable = retryable


class ApprovalDenied(Exception):
    """A person rejected the step, or nobody answered in time. Uncaught, the run ends as `rejected`."""

    def __init__(self, message: str = "", *, reason: str = "", reviewer: str = "", code: str = "rejected") -> None:
        super().__init__(message)
        self.reason = reason
        self.reviewer = reviewer
        self.code = code


class StepError(Exception):
    """An exception of a recorded step whose own class cannot be built again."""

    def __init__(self, message: str = "", *, type_name: str = "", code: str = "step_error") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.code = code


class BatchError(Exception):
    """Items of `ctx.map` failed; its cause is the first failure."""

    failed: list[int] | tuple[int, ...] = ()
    """The places of the items that failed, from 0."""
    result: Any = None
    """The `BatchResult`, with what the other items gave; None behind the border of a step if it is large."""

    def __init__(self, message: str = "", *, failed: list[int] | None = None, code: str = "batch_failed") -> None:
        super().__init__(message)
        self.failed = failed or []
        self.code = code


class NonDeterminismError(BaseException):
    """The code left its journal on replay. Ends the run; cannot be handled by it."""

    def __init__(self, key: str, recorded: str, found: str, line: int = 0) -> None:
        super().__init__(f"at {key!r} the journal holds {recorded}, the code asked for {found}")
        self.key = key
        self.recorded = recorded
        self.found = found
        self.line = line

    def describe(self) -> dict[str, Any]:
        """Return the guest's last frame."""
        return {"t": "diverged", "key": self.key, "recorded": self.recorded, "found": self.found, "line": self.line}


class Ended(BaseException):
    """The run has ended; unwinds whatever code is still on the stack."""


def mark_step(error: BaseException, step: str, attempt: int) -> None:
    """Remember on an exception in which attempt of which step it was raised; the innermost wins."""
    if not hasattr(error, "__stepwell_step__"):
        vars_of: Any = error
        try:
            vars_of.__stepwell_step__ = (step, attempt)
        except (AttributeError, TypeError):
            return
