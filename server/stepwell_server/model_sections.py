"""`[models]` and `[agents.NAME]` of `stepwell.toml`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stepwell.models import Endpoint, read_price
from stepwell.models.names import DEFAULT_MODEL, ENDPOINTS
from stepwell.ports import AgentSettings, Price
from stepwell.sdk.inference import read_inference

MAX_USD = 1e6
Dollars = Annotated[float, Field(gt=0, le=MAX_USD)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]


def _read_price(value: Any) -> Any:
    return read_price(value) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType]


def _check_name(name: str) -> str:
    if not name.isidentifier() or len(name) > 48 or name == "list":
        raise ValueError(f'"{name}" is no name of an agent; write an identifier such as "researcher"')
    return name


AgentName = Annotated[str, AfterValidator(_check_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class EndpointSection(_Section):
    """Where models are asked."""

    kind: Literal["anthropic", "openai"] = "openai"
    api_base: Annotated[str, Field(pattern=r"^https?://")] | None = None
    api_key_env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] | None = None
    """The variable that holds the key; "" where none is needed. A known endpoint has its usual one."""

    def endpoint(self, name: str) -> Endpoint:
        """Return it as the library has it."""
        usual = ENDPOINTS.get(name, Endpoint())
        variable = usual.api_key_env if self.api_key_env is None else self.api_key_env or None
        kind = usual.kind if "kind" not in self.model_fields_set else self.kind
        return Endpoint(kind, self.api_base or usual.api_base, variable)


class ModelSettings(_Section):
    """Which models there are, and what may be spent on them."""

    default: ModelName = DEFAULT_MODEL
    aliases: dict[str, ModelName] = {}
    endpoints: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], EndpointSection] = {}
    prices: dict[str, Annotated[Price, BeforeValidator(_read_price)]] = {}
    """Dollars for a million tokens: `input`, `output`, `cache_read`, `cache_write`."""
    budget_usd_per_run: Dollars | None = None
    budget_usd_per_day: Dollars | None = None


class AgentSection(_Section):
    """An agent that workflows call as `agents.NAME(prompt)`."""

    instructions: Annotated[str, Field(max_length=100_000)] = ""
    description: Annotated[str, Field(max_length=1000)] = ""
    model: ModelName | None = None
    tools: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Patterns over dotted names of tools; `workflows.NAME`."""
    max_turns: Annotated[int | None, Field(ge=1, le=1000)] = None
    budget_usd: Dollars | None = None
    """Of all its calls in one run."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    timeout: float | None = None
    fallback_models: list[str] | None = None
    preset: str | None = None

    @model_validator(mode="after")
    def _check_inference(self) -> "AgentSection":
        self.inference()
        return self

    def inference(self) -> dict[str, Any]:
        """Return how its model is asked."""
        names = (
            "temperature",
            "top_p",
            "top_k",
            "max_tokens",
            "stop_sequences",
            "timeout",
            "fallback_models",
            "preset",
        )
        return read_inference({name: getattr(self, name) for name in names})

    def settings(self, name: str) -> AgentSettings:
        """Return it as the library has it."""
        return AgentSettings(
            name, self.instructions, self.model, self.tools, self.max_turns, self.inference(), self.budget_usd,
            self.description,
        )  # fmt: skip
