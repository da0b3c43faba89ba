"""The models of a home, from its settings and this process's environment."""

import os
from collections.abc import Mapping

from stepwell.errors import ConfigError
from stepwell.models import ModelHost, ModelNames, PriceList
from stepwell.models.names import OVERRIDES, read_overrides
from stepwell.ports import Budgets
from stepwell_server.settings import Settings


def model_host(settings: Settings, environment: Mapping[str, str] = os.environ) -> ModelHost:
    """Return the models that workflows can ask here.

    Raises:
        ConfigError: the variable that names this process's own models cannot be read.
    """
    try:
        own = read_overrides(environment.get(OVERRIDES, ""))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    models = settings.models
    names = ModelNames(
        models.default,
        models.aliases,
        {**settings.workers.models, **own},
        {name: section.endpoint(name) for name, section in models.endpoints.items()},
    )
    return ModelHost(
        names,
        PriceList(models.prices),
        [section.settings(name) for name, section in settings.agents.items()],
        Budgets(models.budget_usd_per_run, models.budget_usd_per_day),
        environment,
    )
