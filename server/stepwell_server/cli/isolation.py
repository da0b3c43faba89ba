"""What `stepwell doctor` says about isolation."""

from dataclasses import asdict

from stepwell.model import JsonObject
from stepwell_sandbox.facts import Facts
from stepwell_sandbox.report import Report
from stepwell_server.cli.finding import Finding


def isolation_findings(report: Report) -> list[Finding]:
    """Return the level, what surrounds the server, each layer and each warning."""
    around = _surroundings(report.facts)
    return [_level(report), *around, *_layers(report), *(Finding("sandbox", "warn", text) for text in report.warnings)]


def _level(report: Report) -> Finding:
    details: JsonObject = {
        "level": report.level,
        "minimum": report.minimum,
        "loses": list(report.losses),
        "missing": [layer.name for layer in report.missing],
        "refused": dict(report.refused),
        "facts": asdict(report.facts),
    }
    if not report.level:
        return Finding("sandbox", "fail", report.refusal, report.hint, details)
    asked = f"level {report.level} (at least {report.minimum} is demanded)"
    if not report.losses:
        return Finding("sandbox", "ok", f"{asked}, the strongest", details=details)
    return Finding("sandbox", "ok", "\n".join([f"{asked}; it lacks:", *report.losses]), details=details)


def _layers(report: Report) -> list[Finding]:
    found: list[Finding] = []
    for layer in report.layers:
        if layer.present:
            found.append(
                Finding(
                    "sandbox layer", "ok", f"{layer.name}: keeps workflows from {layer.stops}", details=asdict(layer)
                )
            )
        else:
            text = f"no {layer.name}: workflows are not kept from {layer.stops}"
            found.append(Finding("sandbox layer", "warn", text, layer.mend, asdict(layer)))
    return found


def _surroundings(facts: Facts) -> list[Finding]:
    found: list[str] = []
    if facts.nested_in:
        found.append(f"the server is inside {facts.nested_in}")
    if facts.container:
        found.append(f"the server is in a container ({facts.container})")
    if facts.wsl:
        found.append(f"the server is in WSL {facts.wsl}")
    if facts.filtered:
        found.append("somebody else's system call filter is on the server")
    if facts.apparmor_limits_namespaces:
        found.append("AppArmor allows user namespaces only to programs with a profile")
    return [Finding("surroundings", "ok", "; ".join(found), details={"facts": list(found)})] if found else []
