"""Who may decide what a run asks; about a call in doubt whoever may approve it, where its tool must be approved."""

from stepwell.errors import ToolFailure
from stepwell.model import Run, Wait
from stepwell.ports import Caller
from stepwell.tools import Policy
from stepwell_server.app import App


def find_doubt(run: Run, key: str | None = None) -> Wait | None:
    """Return the call in doubt that a decision is about: the one of that key, else the first."""
    doubts = [wait for wait in run.waiting_for if wait.kind == "in_doubt" and key in (None, wait.key)]
    return doubts[0] if doubts else None


def needs_approval(app: App, run: Run, doubt: Wait) -> bool:
    """Whether the tool must be approved; one that the run could not call any more may have had to be."""
    return _policy(app, run, doubt) in ("approve", "person")


def needs_person(app: App, run: Run, doubt: Wait) -> bool:
    """Whether only a person may decide."""
    policy = _policy(app, run, doubt)
    return policy == "person" or (policy == "approve" and demands_person(app, run))


def demands_person(app: App, run: Run) -> bool:
    """Whether only a person approves and answers what the run asks, whatever it is."""
    return app.settings.tool_rules().approvals_for(Caller(run.workflow, run.version)) == "person"


def _policy(app: App, run: Run, doubt: Wait) -> Policy:
    try:
        return app.tools.admit(doubt.name, Caller(run.workflow, run.version)).policy
    except ToolFailure:
        return "approve"
