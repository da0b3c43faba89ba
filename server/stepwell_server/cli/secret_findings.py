"""What the doctor says of secrets: which can be read here, and why others cannot. Never a value."""

from stepwell.model import JsonObject
from stepwell.tools import FromEnvironment, SecretRule, Secrets
from stepwell_server.cli.finding import Finding
from stepwell_server.home import Home
from stepwell_server.settings import Settings

TRY_S = 15.0
"""For all secrets together."""


async def secret_findings(home: Home, settings: Settings) -> list[Finding]:
    """Read every secret, and say which cannot be read."""
    rules = settings.secret_rules(home.path)
    problems = await Secrets(rules).list_problems(TRY_S)
    found = [_problem(home, name, rules[name], problem) for name, problem in problems.items()]
    readable = [name for name in rules if name not in problems]
    if readable:
        text = f"{', '.join(readable)} can be read"
        found.append(Finding("secrets", "ok", text, details={"names": list[object](readable)}))
    return found


def _problem(home: Home, name: str, rule: SecretRule, problem: str) -> Finding:
    mend = f"Mend [secrets.{name}] in {home.config}; calls that name it fail until then."
    if isinstance(rule.source, FromEnvironment):
        mend += " A server has the environment that its client gives it, which may be another one than here."
    details: JsonObject = {"names": [name], "section": f"secrets.{name}"}
    return Finding("secrets", "warn", f"{name} cannot be read: {problem}", mend, details)
