"""The models of this process."""

import asyncio
import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from stepwell.errors import ModelFailure
from stepwell.models.names import Endpoint, ModelNames
from stepwell.models.prices import PriceList
from stepwell.ports.models import AgentSettings, Budgets, Model, ModelRequest, ModelTurn

OnText = Callable[[str], None]
DEFAULT_TIMEOUT_S = 600.0
CONNECT_S = 20.0


class Client(Protocol):
    """Asks one endpoint."""

    async def ask(self, request: ModelRequest, timeout_s: float, on_text: OnText) -> ModelTurn:
        """Ask once.

        Raises:
            ModelFailure: see `Models.ask`.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class ModelHost:
    """Implements the engine's `Models`; clients are made when they are first needed."""

    def __init__(
        self,
        names: ModelNames | None = None,
        prices: PriceList | None = None,
        agents: Sequence[AgentSettings] = (),
        budgets: Budgets | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.names = names or ModelNames()
        self.prices = prices or PriceList()
        self._agents = sorted(agents, key=lambda agent: agent.name)
        self._budgets = budgets or Budgets()
        self._environment = environment
        self._clients: dict[str, Client] = {}
        self._making = asyncio.Lock()
        self._loading: threading.Thread | None = None

    @property
    def budgets(self) -> Budgets:
        """What may be spent."""
        return self._budgets

    def find_model(self, name: str | None) -> Model:
        """Return the model that a name stands for here; see `Models`."""
        return self.names.find(name, self.prices)

    def list_agents(self) -> list[AgentSettings]:
        """Return the configured agents by name."""
        return self._agents

    def list_overrides(self) -> Mapping[str, str]:
        """Return what this process asks in place of models, by their names."""
        return self.names.overrides

    def missing(self, model: Model) -> str | None:
        """Return what keeps this process from asking a model; None if nothing does."""
        endpoint = self.names.endpoint(model.endpoint)
        if endpoint.api_key_env is not None and not self._environment.get(endpoint.api_key_env):
            return f"{endpoint.api_key_env} is not set"
        return None

    def prepare(self) -> None:
        """Load what asking the default model takes, in a thread that holds up no end of the process; see `Models`."""
        if self._loading is not None:
            return
        with suppress(ModelFailure):
            model = self.find_model(None)
            if self.missing(model) is None:
                module = f"stepwell.models.{self.names.endpoint(model.endpoint).kind}_client"
                self._loading = threading.Thread(target=_load, args=(module,), name="model-sdk", daemon=True)
                self._loading.start()

    async def ask(self, request: ModelRequest, on_text: OnText) -> ModelTurn:
        """Ask once; see `Models`."""
        client = await self._client(request.model)
        timeout_s = float(request.inference.get("timeout", DEFAULT_TIMEOUT_S))
        try:
            async with asyncio.timeout(timeout_s):
                return await client.ask(request, timeout_s, on_text)
        except TimeoutError:
            raise ModelFailure(
                f"{request.model.name} gave no answer within {timeout_s:g} s", code="timeout", retryable=True, sent=True
            ) from None

    async def _client(self, model: Model) -> Client:
        async with self._making:
            if (client := self._clients.get(model.endpoint)) is None:
                endpoint = self.names.endpoint(model.endpoint)
                key = self._key(model, endpoint)
                # Importing an SDK takes a second or two.
                client = self._clients[model.endpoint] = await asyncio.to_thread(_make, model, endpoint, key)
        return client

    def _key(self, model: Model, endpoint: Endpoint) -> str:
        if endpoint.api_key_env is None:
            return "none"
        key = self._environment.get(endpoint.api_key_env, "")
        if not key:
            raise ModelFailure(
                f"the model {model.name} needs a key, and the variable {endpoint.api_key_env} is not set",
                code="missing_key",
                hint=f"The operator sets {endpoint.api_key_env} in the environment of the server and starts it anew.",
            )
        return key

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()


def _load(module: str) -> None:
    with suppress(Exception):  # who asks is told what is wrong
        importlib.import_module(module)


def _make(model: Model, endpoint: Endpoint, key: str) -> Client:
    if endpoint.kind == "anthropic":
        from stepwell.models.anthropic_client import AnthropicClient  # noqa: PLC0415  its SDK takes a second to import

        return AnthropicClient(endpoint.api_base, key)
    try:
        from stepwell.models.openai_client import OpenAIClient  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ModelFailure(
            f"the model {model.name} needs the package openai, which is not installed",
            code="missing_extra",
            hint="The operator installs it: pip install 'stepwell[openai]'.",
        ) from error
    return OpenAIClient(endpoint.api_base, key)
