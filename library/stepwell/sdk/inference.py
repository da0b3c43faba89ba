"""How a model is asked: parameters by name, with the ranges that providers take."""

from collections.abc import Callable, Mapping
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "precise": {"temperature": 0.1},
    "balanced": {"temperature": 0.7},
    "creative": {"temperature": 1.0},
    "experimental": {"temperature": 1.0, "top_p": 1.0},
}
MAX_STOPS = 8
MAX_OUTPUT_TOKENS = 1_000_000
MAX_TIMEOUT_S = 3600.0


def _number(least: float, most: float) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most

    return fits, f"a number from {least:g} to {most:g}"


def _whole(least: int, most: int) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: type(value) is int and least <= value <= most), f"a whole number from {least} to {most:,}"


def _is_texts(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) <= MAX_STOPS
        and all(isinstance(item, str) and 0 < len(item) <= 200 for item in value)
    )


PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _whole(1, 1000),
    "max_tokens": _whole(1, MAX_OUTPUT_TOKENS),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "timeout": _number(0.001, MAX_TIMEOUT_S),
    "stop_sequences": (_is_texts, f"a list of at most {MAX_STOPS} texts"),
    "fallback_models": (_is_texts, f"a list of at most {MAX_STOPS} names of models"),
}


def read_inference(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that were given, checked; `preset` names some at once.

    Raises:
        TypeError: there is no such parameter.
        ValueError: one is out of its range.
    """
    values = {name: value for name, value in given.items() if value is not None}
    preset = values.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise ValueError(f"preset is one of {', '.join(PRESETS)}, not {preset!r}")
        values = PRESETS[preset] | values
    for name, value in values.items():
        if name == "api_base" or name == "api_key":  # noqa: PLR1714  the two that a workflow must not choose
            raise TypeError(f"{name} is set by the operator, under [models.endpoints] of stepwell.toml")
        if name not in PARAMETERS:
            raise TypeError(f"a model has no parameter {name!r}; there are {', '.join(PARAMETERS)}, preset")
        fits, wanted = PARAMETERS[name]
        if not fits(value):
            raise ValueError(f"{name} is {wanted}, not {value!r}")
    return {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in values.items()}
