"""What people have allowed for more than one call: to list, and to take back."""

import time
from collections.abc import Sequence

from stepwell.errors import NotFound
from stepwell.store import grants
from stepwell.store.database import Database
from stepwell.store.grants import Grant


async def list_grants(database: Database) -> Sequence[Grant]:
    """Return the grants that count, newest first."""
    return await database.read(grants.list_grants)


async def revoke_grant(database: Database, grant: int) -> None:
    """Let a grant cover nothing more.

    Raises:
        NotFound: there is none of that id that counts.
    """
    if not await database.write(lambda c: grants.revoke_grant(c, grant, time.time())):
        raise NotFound(f"there is no grant {grant}", hint="`stepwell grants` lists them.")
