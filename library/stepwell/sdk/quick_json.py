"""JSON texts of many small values."""

import json
from collections.abc import Callable
from typing import Any


def quick_encoder(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """Return the same as `encoder.encode` for values that hold no cycle.

    That one builds its parts anew for each value, which takes longer than most values do.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the C part of the standard library
        return encoder.encode
    quote = json.encoder.encode_basestring_ascii if encoder.ensure_ascii else json.encoder.encode_basestring
    parts = make(
        None, encoder.default, quote, None, encoder.key_separator, encoder.item_separator,
        encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
    )  # fmt: skip
    return lambda value: "".join(parts(value, 0))
