"""The two eras of the protocol."""

MODERN = "2026-07-28"
"""The first protocol version without requests from server to client."""
