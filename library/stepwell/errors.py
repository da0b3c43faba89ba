"""Everything that can go wrong, by who must act.

::

    StepwellError
    ├── RequestError              the caller must change the request
    │   ├── InvalidArguments      arguments do not fit the schema
    │   ├── InvalidSource         a workflow's source cannot be stored
    │   ├── InvalidName           a workflow's name cannot be used
    │   ├── NameTaken             a workflow of that name exists
    │   ├── NotFound              no workflow, run, artifact, topic of that name
    │   ├── Conflict              the run is not in a state for that, or the id is used
    │   ├── Forbidden             policy does not let this caller do that
    │   ├── TooLarge              it is more than the operator lets be kept
    │   └── PackageRefused        a package it declares is not allowed, or cannot be had as declared
    ├── RunError                  the workflow must change; ends the run
    │   ├── GuestCrashed          its process died without a result
    │   ├── LimitExceeded         it crossed a limit
    │   ├── ProtocolViolation     its process broke the protocol
    │   ├── NonDeterminism        it does not repeat what its journal holds
    │   ├── PackagesMissing       the packages it runs with cannot be had now
    │   ├── BudgetExceeded        a model call could cost more than is left of a budget
    │   ├── ModelFailure          a model gave no answer (catchable in the workflow)
    │   └── ToolFailure           a tool it called failed (catchable in the workflow)
    │       └── HostNeeded        it was redirected to a host that a person may allow
    └── HostError                 the operator must act; the run stays resumable
        ├── ConfigError           stepwell.toml or a tool file is wrong
        ├── StoreError            the database cannot be used
        ├── SandboxUnavailable    this machine cannot isolate at the level asked for
        ├── PackagesUnavailable   packages cannot be installed: no installer, no index, no room
        └── Fenced                another process holds the run now
"""

from typing import Any


class StepwellError(Exception):
    """The root of the tree. `code` is stable; `hint` says what to do next and may be empty."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def describe(self) -> dict[str, Any]:
        """Return `{type, code, message, hint}`, the form of every error at the borders."""
        return {"type": type(self).__name__, "code": self.code, "message": self.message, "hint": self.hint}


class RequestError(StepwellError):
    """The caller must change the request; nothing was stored."""

    code = "bad_request"


class InvalidArguments(RequestError):
    """Arguments do not fit the schema they were checked against."""

    code = "invalid_arguments"


class InvalidSource(RequestError):
    """A workflow's source does not parse, has no entry, or is too large."""

    code = "invalid_source"

    def __init__(self, message: str, *, hint: str = "", line: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.line = line

    def describe(self) -> dict[str, Any]:
        """Return the error with the line of the source it is about."""
        return super().describe() | ({"line": self.line} if self.line else {})


class InvalidName(RequestError):
    """A workflow's name is no identifier, too long, or reserved."""

    code = "invalid_name"


class NameTaken(RequestError):
    """A workflow of that name exists and `replace` was not asked for."""

    code = "name_taken"


class NotFound(RequestError):
    """No such workflow, version, run, artifact or guide topic; the hint names near ones."""

    code = "not_found"


class Conflict(RequestError):
    """The run is in no state for that, or the id was used with other inputs."""

    code = "conflict"


class Forbidden(RequestError):
    """Policy does not let this caller do that."""

    code = "forbidden"


class TooLarge(RequestError):
    """It is more than the operator lets be kept."""

    code = "too_large"


class PackageRefused(RequestError):
    """A package that a workflow declares is not allowed by the operator, or cannot be had as declared."""

    code = "package_refused"


class RunError(StepwellError):
    """The workflow must change; the run ends as failed."""

    code = "run_error"


class GuestCrashed(RunError):
    """The workflow's process died without a result."""

    code = "crashed"


class LimitExceeded(RunError):
    """The workflow crossed a limit; the message names it and its value, the hint says how to raise it."""

    code = "limit_exceeded"

    def __init__(self, message: str, *, limit: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class ProtocolViolation(RunError):
    """The workflow's process sent what no honest guest sends."""

    code = "protocol_violation"


class NonDeterminism(RunError):
    """On replay the workflow asked for something else than its journal holds."""

    code = "nondeterminism"


class PackagesMissing(RunError):
    """The packages that a run needs cannot be had now; once they can, the run can be resumed."""

    code = "packages_missing"


class BudgetExceeded(RunError):
    """The next model call could cost more than is left of a budget; nothing was sent."""

    code = "budget_exceeded"


class ModelFailure(RunError):
    """A model gave no answer. Workflow code can catch it as `AgentError`.

    `retry_s` is how long the provider asks to wait, if it says so; `sent` whether the turn may have been made, and
    billed, all the same.
    """

    code = "model_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "model_error",
        retryable: bool = False,
        retry_s: float | None = None,
        sent: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retryable = retryable
        self.retry_s = retry_s
        self.sent = sent


class ToolFailure(RunError):
    """A tool failed. Workflow code can catch it as `ToolError`."""

    code = "tool_error"

    def __init__(
        self, message: str, *, tool: str, code: str = "tool_error", retryable: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.tool = tool
        self.code = code
        self.retryable = retryable


class HostNeeded(ToolFailure):
    """A call was led on to a host that is not on the operator's list; nothing was sent there.

    A person may allow the host; the call, which only asks, is then made again.
    """

    def __init__(self, message: str, *, tool: str, host: str, hint: str = "") -> None:
        super().__init__(message, tool=tool, code="not_allowed", hint=hint)
        self.host = host


class HostError(StepwellError):
    """The operator must act; no run is lost by it."""

    code = "host_error"


class ConfigError(HostError):
    """A configuration or tool file is wrong; the message names file and line."""

    code = "config_error"


class StoreError(HostError):
    """The database cannot be opened, is newer than this code, or refused a write."""

    code = "store_error"


class SandboxUnavailable(HostError):
    """This machine cannot isolate a workflow at the level asked for."""

    code = "sandbox_unavailable"


class PackagesUnavailable(HostError):
    """Packages cannot be installed: there is no installer, no index that answers, or no room."""

    code = "packages_unavailable"


class Fenced(HostError):
    """Another process holds the run's lease now; nothing of this write was stored."""

    code = "fenced"
