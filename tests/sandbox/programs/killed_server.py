"""A server with an idle and a busy guest that prints its descendants and waits to be killed: LEVEL FOLDER."""

import asyncio
import json
import os
import sys
from pathlib import Path

from confined import confined, descendants, start_frame
from stepwell.ports.limits import Limits

BUSY = """
def run():
    try:
        open("left", "w").write("x")
    except OSError:
        pass
    print("busy")
    while True:
        pass
"""


async def main(level: str, root: Path) -> None:
    async with confined(level, root) as link:
        await link.spawn(Limits(), lambda: None)
        busy = await link.spawn(Limits(), lambda: None)
        await busy.send(start_frame(BUSY))
        await busy.receive()
        print(json.dumps(descendants(os.getpid())), flush=True)
        await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
