import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import pytest_asyncio

from tools.loopback import Site


@pytest_asyncio.fixture
async def site() -> AsyncGenerator[Site, None]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = cast(int, server.sockets[0].getsockname()[1])
    async with server:
        yield made
        await made.close()
