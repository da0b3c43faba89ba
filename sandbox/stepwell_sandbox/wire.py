"""The frame format between host and guest, in the standard library only: it is loaded on both sides.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON, one object. The host decodes strictly
(`stepwell_sandbox.decode`); the guest trusts its host.
"""

import struct

HEADER = struct.Struct(">I")
GUEST_FD = 3
"""The channel. Besides it a guest has /dev/null as 0, and as 1 and 2 a pipe to its host (`written`)."""
