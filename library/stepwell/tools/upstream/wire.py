"""What the transports of upstream servers have in common."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # of one answer; our choice

# Codes of JSON-RPC errors that are made here in place of an answer; servers have those from -32000 to -32099 too, but
# these are recognised only with their texts being ours, and each is as harmless as what a server could do itself.
LOST = -32000  # the SDK's own, for a connection that has ended: nobody knows
UNSENT = -32097  # nothing was sent
TOO_LARGE = -32098
NO_JSON = "Failed to parse"  # how the text of the error begins that stands in place of an answer that is no JSON
