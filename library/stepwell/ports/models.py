"""What the engine asks of language models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stepwell.model import JsonObject

PICO = 10**12  # picodollars in a dollar: prices of a token are whole numbers of them


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more turns."""

    input: int = 0
    """Neither read from the provider's cache nor written to it."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that went in."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """All tokens."""
        return self.prompt + self.output

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum."""
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Picodollars a token."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    above: "tuple[int, Price] | None" = None
    """The price of a turn whose prompt has more than so many tokens."""

    def cost(self, usage: Usage) -> int:
        """Return picodollars."""
        price = self
        if self.above is not None and usage.prompt > self.above[0]:
            price = self.above[1]
        return (
            usage.input * price.input
            + usage.output * price.output
            + usage.cache_read * price.cache_read
            + usage.cache_write * price.cache_write
        )

    def most(self, prompt: int, output: int) -> int:
        """Return the largest cost of a turn with at most so many tokens in and out, in picodollars."""
        tiers = [self] if self.above is None or prompt <= self.above[0] else [self, self.above[1]]
        return max(prompt * max(t.input, t.cache_write, t.cache_read) + output * t.output for t in tiers)


@dataclass(frozen=True, slots=True)
class Model:
    """A model as this process would ask it."""

    name: str
    """Under which its turns are recorded and priced: `claude-sonnet-5-5`, `ollama/llama3.2`."""
    endpoint: str
    id: str
    """The provider's name of it."""
    price: Price | None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One turn to ask for. Messages, tools and content are in the form of Anthropic's Messages API."""

    model: Model
    system: str
    messages: list[JsonObject]
    tools: list[JsonObject]
    max_tokens: int
    inference: JsonObject = field(default_factory=dict[str, Any])
    """Checked by `stepwell.sdk.inference`."""


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """What a model answered."""

    content: list[JsonObject]
    stop_reason: str
    usage: Usage
    model: str
    """As the provider names it."""
    details: str = ""
    """Of a refusal: why."""
    usage_known: bool = True
    """False: the endpoint does not count, so nobody knows the cost."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent of the host's configuration."""

    name: str
    instructions: str = ""
    model: str | None = None
    tools: tuple[str, ...] = ()
    max_turns: int | None = None
    inference: JsonObject = field(default_factory=dict[str, Any])
    budget_usd: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the operator allows to be spent, in dollars."""

    per_run: float | None = None
    """Of a run with the workflows that it invokes; runs can have lower ones."""
    per_day: float | None = None
    """Of all runs of this home together, from midnight UTC."""


class Models(Protocol):
    """The models and agents of this host."""

    @property
    def budgets(self) -> Budgets:
        """What may be spent."""
        ...

    def find_model(self, name: str | None) -> Model:
        """Return the model that a name stands for here, None for the default.

        Raises:
            ModelFailure: code `unknown_model`; it says what to configure.
        """
        ...

    def list_agents(self) -> list[AgentSettings]:
        """Return the configured agents by name."""
        ...

    def list_overrides(self) -> Mapping[str, str]:
        """Return what this process asks in place of models, by their names."""
        ...

    def prepare(self) -> None:
        """Say that models will be asked soon; returns at once."""
        ...

    async def ask(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelTurn:
        """Ask once, without trying again; `on_text` gets text as it comes.

        Raises:
            ModelFailure: there is no turn; `sent` says whether it may have been made, and billed, all the same.
        """
        ...
