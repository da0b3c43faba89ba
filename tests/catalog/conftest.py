from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio

from stepwell.catalog.catalog import Catalog
from stepwell.store.database import Database, open_database


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database, None]:
    async with open_database(tmp_path / "stepwell.db") as opened:
        yield opened


@pytest_asyncio.fixture
async def catalog(database: Database) -> Catalog:
    return Catalog(database)
