"""What Sagewai's page says of a worker's own models. Keys and addresses of models are never shown to a workflow."""

from dataclasses import dataclass, field, fields
from typing import Any, Self

from stepwell.compat.ignoring import ignore
from stepwell.sdk.handles import HostFunction
from stepwell.sdk.inference import PARAMETERS, read_inference
from stepwell.sdk.runtime import runtime

ELSEWHERE = ("api_base", "api_key", "custom_llm_provider")


@dataclass(frozen=True, kw_only=True)
class InferenceParams:
    """How a model is asked; what is out of its range is refused."""

    temperature: float | None = 0.7
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_sequences: list[str] | None = None
    timeout: float | None = 120.0
    """Seconds."""
    fallback_models: list[str] | None = None
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    custom_llm_provider: str | None = None

    @classmethod
    def from_preset(cls, name: str, **given: Any) -> Self:
        """Return those of a preset: `precise`, `balanced`, `creative`, `experimental`; what is given goes over it."""
        return cls(**read_inference({"preset": name} | given))

    def given(self) -> dict[str, Any]:
        """Return what an agent takes of it.

        Raises:
            ValueError: one is out of its range.
        """
        return read_inference({item.name: getattr(self, item.name) for item in fields(self) if item.name in PARAMETERS})

    def __post_init__(self) -> None:
        """Check the ranges, and drop what the server's configuration says."""
        self.given()
        for what in ELSEWHERE:
            if getattr(self, what) is not None:
                ignore(f"{what}= of InferenceParams", "keys and addresses of models are in the server's configuration")
                object.__setattr__(self, what, None)


@dataclass(frozen=True, kw_only=True)
class WorkerCredentials:
    """Which models a process asks in place of those that are named."""

    model_overrides: dict[str, str] = field(default_factory=dict[str, str])
    """By name; `default` is the model of agents that name none."""
    inference_overrides: InferenceParams | None = None
    env_overrides: dict[str, str] = field(default_factory=dict[str, str])


def get_worker_credentials() -> WorkerCredentials | None:
    """Return the overrides of the process that first executed this call; None outside of a run."""
    try:
        runtime().scope()
    except RuntimeError:
        return None
    found: Any = HostFunction("query", "agents.overrides", lambda: ([], {}))()
    return WorkerCredentials(model_overrides=found)
