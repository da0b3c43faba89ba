"""`stepwell models`."""

from datetime import UTC, datetime
from typing import Any

import click

from stepwell.engine import Spent
from stepwell.errors import ModelFailure
from stepwell.models import ModelHost
from stepwell.ports import Price
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.cli.text import columns
from stepwell_server.results import spent_result

PER_MILLION = 10**6  # picodollars a token for a dollar a million tokens


@click.command(cls=Command)
@click.pass_obj
def models(invocation: Invocation) -> None:
    """List the models and agents that workflows can ask, what they cost, and what was spent today (UTC)."""

    async def load(app: App) -> tuple[ModelHost, dict[str, Spent]]:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return app.models, await app.engine.spent("model", since=midnight.timestamp())

    host, spent = in_app(invocation, load)
    shown = describe(host, spent)
    invocation.put(shown, "\n".join(_lines(shown)))


def describe(host: ModelHost, spent: dict[str, Spent]) -> dict[str, Any]:
    """Return names with what they stand for, agents, and sums."""
    names = list(dict.fromkeys(["default", *host.names.aliases, *host.names.overrides, *host.prices.given]))
    return {
        "models": [_model(host, name) for name in names],
        "agents": [
            {"name": agent.name, "model": agent.model or "default", "tools": list(agent.tools)}
            for agent in host.list_agents()
        ],
        "prices_date": host.prices.date,
        "budget_usd_per_run": host.budgets.per_run,
        "budget_usd_per_day": host.budgets.per_day,
        "today": {name: spent_result(sums) for name, sums in spent.items()},
    }


def _model(host: ModelHost, name: str) -> dict[str, Any]:
    try:
        model = host.find_model(None if name == "default" else name)
    except ModelFailure as error:
        return {"name": name, "model": None, "endpoint": None, "price": None, "missing": error.message}
    price = None if model.price is None else _price(model.price)
    missing = host.missing(model)
    return {"name": name, "model": model.name, "endpoint": model.endpoint, "price": price, "missing": missing}


def _price(price: Price) -> dict[str, float]:
    return {
        name: getattr(price, name) / PER_MILLION for name in ("input", "output", "cache_read", "cache_write")
    }  # fmt: skip


def _lines(shown: dict[str, Any]) -> list[str]:
    lines = columns(
        (
            model["name"],
            model["model"] or "",
            _priced(model["price"]) if model["model"] else "",
            model["missing"] or "",
        )
        for model in shown["models"]
    )
    lines.append(f"Prices as of {shown['prices_date']}, for a million tokens; [models.prices] sets others.")
    lines += [f"agents.{agent['name']}  {agent['model']}  {', '.join(agent['tools'])}" for agent in shown["agents"]]
    for what in ("run", "day"):
        if (budget := shown[f"budget_usd_per_{what}"]) is not None:
            lines.append(f"Budget of a {what}: ${budget:g}")
    for name, sums in shown["today"].items():
        cost = "cost not known" if sums["cost_usd"] is None else f"${sums['cost_usd']:.4f}"
        doubt = f", up to ${sums['in_doubt_usd']:.4f} for lost answers" if sums["in_doubt_usd"] else ""
        tokens = sums["input_tokens"] + sums["output_tokens"]
        lines.append(f"Today {name}: {sums['calls']} calls, {tokens} tokens, {cost}{doubt}")
    return lines


def _priced(price: dict[str, float] | None) -> str:
    return "price not known" if price is None else f"${price['input']:g} in, ${price['output']:g} out"
