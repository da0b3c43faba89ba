"""Which model a name stands for: aliases, this process's overrides, and the endpoint that serves it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from stepwell.errors import ModelFailure
from stepwell.models.prices import PriceList
from stepwell.ports.models import Model

DEFAULT_MODEL = "claude-sonnet-5-5"
MAX_HOPS = 8  # from alias to alias
PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[:/](.+)")
OPENAI_MODEL = re.compile(r"(gpt|chatgpt|o\d)[-\d]")
OVERRIDES = "STEPWELL_MODELS"
"""In the environment of a process: `default=ollama/llama3.2,claude-opus-5-5=fast`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where models are asked."""

    kind: Literal["anthropic", "openai"] = "openai"
    """Whose protocol it speaks."""
    api_base: str | None = None
    """None: the provider's own."""
    api_key_env: str | None = None
    """The variable of the environment that holds the key; None: none is needed."""


ENDPOINTS: dict[str, Endpoint] = {
    "anthropic": Endpoint("anthropic", None, "ANTHROPIC_API_KEY"),
    "openai": Endpoint("openai", None, "OPENAI_API_KEY"),
    "ollama": Endpoint("openai", "http://127.0.0.1:11434/v1", None),
}


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The operator's names."""

    default: str = DEFAULT_MODEL
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    """What this process asks in place of a model; `default` is the default one."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint of `find`."""
        return self.endpoints.get(name) or ENDPOINTS[name]

    def find(self, name: str | None, prices: PriceList) -> Model:
        """Return the model that a name stands for.

        Raises:
            ModelFailure: code `unknown_model`: nothing says where it is asked.
        """
        asked = self._resolved(name)
        match = PREFIXED.fullmatch(asked)
        known = [*ENDPOINTS, *self.endpoints]
        if match is not None and match[1] in known:
            endpoint, ident = match[1], match[2]
        elif asked.startswith("claude-"):
            endpoint, ident = "anthropic", asked
        elif OPENAI_MODEL.match(asked):
            endpoint, ident = "openai", asked
        else:
            raise self._unknown(name or self.default, asked, prices)
        full = f"{endpoint}/{ident}"
        shown = ident if endpoint in ("anthropic", "openai") else full
        return Model(shown, endpoint, ident, prices.find(full, f"{endpoint}:{ident}", shown))

    def _resolved(self, name: str | None) -> str:
        asked = name or self.overrides.get("default") or self.default
        for _ in range(MAX_HOPS):
            further = self.overrides.get(asked) or self.aliases.get(asked)
            if asked == "default":
                further = self.overrides.get("default") or self.default
            if further is None or further == asked:
                return asked
            asked = further
        raise ModelFailure(
            f"the model {name or 'default'!r} is an alias that leads back to itself", code="unknown_model",
            hint="Mend [models.aliases] in stepwell.toml.",
        )  # fmt: skip

    def _unknown(self, name: str, asked: str, prices: PriceList) -> ModelFailure:
        known = [*self.aliases, *prices.names()]
        near = get_close_matches(asked, known, n=3) or [*self.aliases, DEFAULT_MODEL][:5]
        shown = f"{name!r}" if name == asked else f"{name!r} (which stands for {asked!r})"
        return ModelFailure(
            f"nothing says where the model {shown[:200]} is asked.", code="unknown_model",
            hint=f"Near ones: {', '.join(near)}. Others are named with their endpoint, such as openai:gpt-4o or "
            "ollama/llama3.2; the operator adds endpoints under [models.endpoints.NAME] in stepwell.toml, with "
            "api_base and api_key_env.",
        )  # fmt: skip


def read_overrides(text: str) -> dict[str, str]:
    """Return the overrides of the environment.

    Raises:
        ValueError: it is no list of `name=model`.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, model = (piece.strip() for piece in part.partition("="))
        if not (name and equals and model):
            raise ValueError(
                f"{OVERRIDES} is a list such as default=claude-haiku-4-5,fast=ollama/llama3.2, not {part!r}"
            )
        found[name] = model
    return found
