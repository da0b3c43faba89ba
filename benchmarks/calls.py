"""How many commits, each one fsync, a step costs whose effect is a call of a tool."""

from pathlib import Path

import programs
from figures import Figures
from stub import answering
from wal_commits import count_commits

from stepwell_server import Session

TOPIC = "commits"
STEPS = 10
CONFIG = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n'


async def measure_calls(figures: Figures, folder: Path) -> None:
    """Count; the steps are apart, so that none shares a commit with the next."""
    home = folder / "calls"
    home.mkdir()
    (home / "stepwell.toml").write_text(CONFIG)
    with answering() as base:
        async with Session(home) as session:
            rests = await _commits(session, home, programs.RESTS)
            for what, source, most in (("changes something", programs.CHANGES, 2), ("reads", programs.READS, 1)):
                commits = (await _commits(session, home, source, base=base) - rests) / STEPS
                figures.at_most(TOPIC, f"a step with a call that {what}", round(commits, 1), "commits", most)


async def _commits(session: Session, home: Path, source: str, **inputs: str) -> int:
    await session.add_workflow("counted", source, replace=True)
    before = count_commits(home / "stepwell.db")
    run = await session.run("counted", n=STEPS, **inputs)
    if run.error is not None:
        raise RuntimeError(run.error.message)
    return count_commits(home / "stepwell.db") - before
