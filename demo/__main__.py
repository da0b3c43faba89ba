"""One agent's session with Stepwell, played for real: `python demo`.

Every line marked `ok` was checked before it was printed. Exit codes: 0 all was as claimed, 1 something differs,
2 this machine cannot run workflows.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from agent import start_server
from claims import NotAsClaimed
from github import GitHub
from phases import connect, find, library, order, paste
from phases.ready import NotReady, find_level
from shop import Shop
from stage import Stage
from transcript import WIDTH, Transcript
from web import serve

LIMIT_S = 120.0
LIVE_HOST = "api.github.com"
LOG_LINES = 15


def main() -> int:
    """Play the session and return the exit code."""
    options = _parse()
    width = None if sys.stdout.isatty() else WIDTH
    plain = options.no_color or "NO_COLOR" in os.environ
    console = Console(color_system=None if plain else "auto", width=width, highlight=False)
    transcript = Transcript(console, fast=options.fast)
    with _home(live=options.live, keep=options.keep) as home:
        try:
            asyncio.run(_play(transcript, home, live=options.live))
        except NotReady as error:
            transcript.failure(str(error))
            return 2
        except KeyboardInterrupt:
            transcript.failure("Interrupted.")
            return 130
        except Exception as error:  # noqa: BLE001 - the last handler: whatever it is, the demo has failed and says so
            transcript.failure(_describe(error))
            _show_log(transcript, home)
            return 1
    if options.keep:
        transcript.say(f"The home is kept: stepwell runs --home {home}")
    return 0


async def _play(transcript: Transcript, home: Path, *, live: bool) -> None:
    transcript.title("Stepwell", "One agent's session: a real server, a real MCP client, real sandboxed processes.")
    github, shop = GitHub(), Shop()
    async with asyncio.timeout(LIMIT_S):
        with serve(github) as github_url, serve(shop) as shop_url:
            level = await find_level(str(home))
            url = f"https://{LIVE_HOST}" if live else github_url
            stage = Stage(transcript, home, github, shop, url, shop_url, live, shutil.which("curl") is not None)
            async with start_server(home) as agent:
                await connect.play(stage, agent, level)
                await library.play(stage, agent)
                await find.play(stage, agent)
                run_id, killed_at = await order.begin(stage, agent)
            async with start_server(home) as agent:
                await order.finish(stage, agent, run_id, killed_at)
            paste.play(stage)
    transcript.end(f"All {transcript.claims} claims hold.")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python demo", description="One agent's session with Stepwell, played for real."
    )
    parser.add_argument("--live", action="store_true", help=f"ask {LIVE_HOST} instead of a local stand-in")
    parser.add_argument("--no-color", action="store_true", help="print without colours")
    parser.add_argument("--fast", action="store_true", help="without pauses for reading")
    parser.add_argument("--keep", action="store_true", help="keep the home with its database and log")
    return parser.parse_args()


@contextmanager
def _home(*, live: bool, keep: bool) -> Generator[Path, None, None]:
    home = Path(tempfile.mkdtemp(prefix="stepwell-demo-"))
    hosts = ["127.0.0.1", LIVE_HOST] if live else ["127.0.0.1"]
    listed = ", ".join(f'"{host}"' for host in hosts)
    (home / "stepwell.toml").write_text(f"[http]\nallow_hosts = [{listed}]\nallow_private = true\n")
    try:
        yield home
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, NotAsClaimed):
        return f"NOT AS CLAIMED: {error}"
    if isinstance(error, TimeoutError):
        return f"Something took too long (the whole may take {LIMIT_S:g} s)."
    return f"The demo failed: {type(error).__name__}: {error}"


def _show_log(transcript: Transcript, home: Path) -> None:
    log = home / "server.log"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    if lines:
        transcript.say("The end of the server's log:\n" + "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
