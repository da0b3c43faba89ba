"""Tools that run on the host for workflows: HTTP and command lines, within the operator's rules."""

from stepwell.tools.binding import signature
from stepwell.tools.network import NetworkPolicy, is_host_pattern
from stepwell.tools.rules import DoubtRule, Policy, ToolRules
from stepwell.tools.secret_sources import FromCommand, FromEnvironment, FromFile, FromKeyring
from stepwell.tools.secrets import SecretRule, Secrets
from stepwell.tools.sources import Tried
from stepwell.tools.tool import OutcomeUnknown
from stepwell.tools.toolbox import Toolbox, open_toolbox

__all__ = [
    "DoubtRule",
    "FromCommand",
    "FromEnvironment",
    "FromFile",
    "FromKeyring",
    "NetworkPolicy",
    "OutcomeUnknown",
    "Policy",
    "SecretRule",
    "Secrets",
    "ToolRules",
    "Toolbox",
    "Tried",
    "is_host_pattern",
    "open_toolbox",
    "signature",
]
