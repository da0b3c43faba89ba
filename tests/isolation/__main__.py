"""The whole matrix: every attack, as root and as a user, on each Python, at each level, inside other sandboxes.

Prints a table; exit code 1 if anything got out that docs/isolation.md does not say. What this machine has not is
left out and said so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isolation.stage import Python, Stage, unhidden

USER = 1000
TRIAL_S = 600
LEVELS = ("A", "A2", "B", "C")
OUTER = (
    "bwrap",
    "--bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
)
SURROUNDINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "in bubblewrap": ((*OUTER, "--"), "A"),
    "in bubblewrap without user namespaces": ((*OUTER, "--disable-userns", "--"), "B"),
    "in a filter like Docker's": (("{python}", "-m", "isolation.filtered"), "B"),
    "in a filter like Docker's, no Landlock": (("{python}", "-m", "isolation.filtered", "--no-landlock"), "C"),
}
"""What lies around the server, and the level that is expected there."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    python: Python
    root: bool
    level: str
    around: str = ""

    @property
    def name(self) -> str:
        return ", ".join(filter(None, [f"Python {self.python.name}", "root" if self.root else "user", self.around]))


def cases(pythons: list[Python]) -> list[Case]:
    first, *others = pythons
    found = [Case(first, False, level) for level in LEVELS]
    if os.getuid() == 0:
        found += [Case(first, True, level) for level in LEVELS]
    found += [Case(python, False, level) for python in others for level in LEVELS[:3]]
    return found + [Case(first, False, "auto", around) for around in SURROUNDINGS]


def run(case: Case, stage: Stage, folder: Path) -> dict[str, Any]:
    wrapper = SURROUNDINGS[case.around][0] if case.around else ()
    command = [part.format(python=case.python.path) for part in wrapper]
    if command and shutil.which(command[0]) is None:
        return {"unavailable": f"{command[0]} is not installed"}
    command += [str(case.python.path), "-m", "isolation.trial", case.level, str(folder / "trial")]
    if os.getuid() == 0 and not case.root:
        os.chown(folder, USER, USER)
        user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--"]
        command = [*unhidden(case.python, folder.with_name(f"{folder.name}-python")), *user, *command]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TRIAL_S, check=False, cwd="/",
        env=case.python.environment(stage.code) | {"HOME": str(folder), "TMPDIR": str(folder)},
    )  # fmt: skip
    if done.returncode:
        return {"broken": done.stderr.strip()[-1500:]}
    return json.loads(done.stdout)


def verdict(case: Case, told: dict[str, Any]) -> tuple[str, bool]:
    """Return the end of a row, and whether it is as it should be."""
    if "broken" in told:
        return f"- | - | the trial did not end: {told['broken']}", False
    if "unavailable" in told:
        return f"- | - | left out: {told['unavailable'][:200]}", not case.around or "not installed" in told[
            "unavailable"
        ]
    expected = SURROUNDINGS[case.around][1] if case.around else case.level
    good = not told["escapes"] and told["level"] == expected
    shown = [f"`{name}`" for name in told["losses"]]
    extra = f"; skipped {len(told['skipped'])}" if told["skipped"] else ""
    rest = f"{', '.join(shown) or 'none'}{extra}"
    if not good:
        rest = f"ESCAPES {told['escapes']}; {rest}"
    return f"{told['level']} | {told['stopped']} | {rest}", good


def main() -> int:
    started = time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="isolation-", dir="/tmp") as name:
        stage = Stage(Path(name))
        pythons = stage.pythons()
        print("| configuration | level | stopped | not stopped |\n| --- | --- | --- | --- |", flush=True)
        for number, case in enumerate(cases(pythons)):
            if sys.argv[1:] and not any(word in case.name for word in sys.argv[1:]):
                continue
            folder = Path(name) / f"trial-{number}"
            folder.mkdir()
            text, good = verdict(case, run(case, stage, folder))
            failed += not good
            print(f"| {case.name} | {text} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s; {failed} rows are not as they should be", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
