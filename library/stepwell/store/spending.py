"""What models were asked, and what it has cost."""

import sqlite3
from dataclasses import dataclass

from stepwell.store.rows import insert_rows

FAMILY_SQL = """WITH RECURSIVE family (id) AS (SELECT ?1
    UNION SELECT r.id FROM runs r JOIN family f ON r.parent_id = f.id)
    SELECT coalesce(sum(cost_pico), 0), count(*) - count(cost_pico) FROM model_calls
    WHERE run_id IN (SELECT id FROM family)"""
ANCESTORS_SQL = """WITH RECURSIVE up (id, parent_id) AS (SELECT id, parent_id FROM runs WHERE id = ?1
    UNION SELECT r.id, r.parent_id FROM runs r JOIN up ON r.id = up.parent_id)"""


OWN = "the run's budget"


@dataclass(frozen=True, slots=True)
class NewCall:
    """A request that is about to leave."""

    run_id: str
    key: str
    agent: str
    step: str
    session_id: str | None
    model: str
    at: float
    cost_pico: int | None
    """The most it can cost."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and costs of some calls."""

    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_pico: int | None
    """None if the price of one of them is not known."""
    in_doubt_pico: int
    """The most that calls without an answer can have cost besides."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget that bounds the calls of a run."""

    what: str
    limit_pico: int
    spent_pico: int
    unknown: int = 0
    """Calls among them whose cost is not known."""


def add_call(connection: sqlite3.Connection, call: NewCall) -> int:
    """Store a request; return its id. Earlier ones of the same turn are lost now, if they are not done."""
    connection.execute(
        "UPDATE model_calls SET status = 'lost' WHERE run_id = ? AND key = ? AND status = 'sent'",
        (call.run_id, call.key),
    )
    insert_rows(
        connection,
        "INSERT INTO model_calls (run_id, key, agent, step, session_id, model, at, cost_pico, status)",
        [
            (
                call.run_id, call.key, call.agent, call.step, call.session_id, call.model, call.at, call.cost_pico,
                "sent",
            )
        ],
    )  # fmt: skip
    return int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])


def drop_call(connection: sqlite3.Connection, ident: int, *, sent: bool) -> None:
    """Note that there is no answer: the request is forgotten, or counts as lost if it may have been billed."""
    if sent:
        connection.execute("UPDATE model_calls SET status = 'lost' WHERE id = ?", (ident,))
    else:
        connection.execute("DELETE FROM model_calls WHERE id = ?", (ident,))


def settle_call(
    connection: sqlite3.Connection, ident: int, run_id: str, tokens: tuple[int, int, int, int], cost_pico: int | None
) -> None:
    """Note what a request has come to, with the run and those that invoked it."""
    connection.execute(
        """UPDATE model_calls SET status = 'done', input_tokens = ?, output_tokens = ?, cache_read_tokens = ?,
               cache_write_tokens = ?, cost_pico = ? WHERE id = ?""",
        (*tokens, cost_pico, ident),
    )
    cost_usd = None if cost_pico is None else cost_pico / 1e12
    connection.execute(
        f"""{ANCESTORS_SQL} UPDATE runs SET tokens_used = tokens_used + ?2, cost_usd = CASE
                WHEN tokens_used > 0 AND cost_usd IS NULL THEN NULL ELSE round(coalesce(cost_usd, 0) + ?3, 12) END
            WHERE id IN (SELECT id FROM up)""",
        (run_id, sum(tokens), cost_usd),
    )


def list_limits(connection: sqlite3.Connection, run_id: str) -> list[Limit]:
    """Return the budgets of a run and of those that invoked it, each with what their families have spent."""
    sql = f"""{ANCESTORS_SQL} SELECT id, json_extract(options, '$.budget_usd') AS budget FROM runs
              WHERE id IN (SELECT id FROM up) AND json_extract(options, '$.budget_usd') > 0"""
    found = connection.execute(sql, (run_id,)).fetchall()
    return [
        Limit(
            OWN if row["id"] == run_id else f"the budget of the run {row['id']} that invoked it",
            round(row["budget"] * 1e12),
            *connection.execute(FAMILY_SQL, (row["id"],)).fetchone(),
        )
        for row in found
    ]


def read_budget(connection: sqlite3.Connection, run_id: str) -> dict[str, float | None]:
    """Return what a run may spend, has spent with what is reserved, and has left, in dollars."""
    spent = int(connection.execute(FAMILY_SQL, (run_id,)).fetchone()[0])
    limits = list_limits(connection, run_id)
    own = [limit.limit_pico for limit in limits if limit.what == OWN]
    left = min((limit.limit_pico - limit.spent_pico for limit in limits), default=None)
    return {
        "limit_usd": own[0] / 1e12 if own else None,
        "spent_usd": spent / 1e12,
        "remaining_usd": None if left is None else max(0, left) / 1e12,
    }


def spent_by_agent(connection: sqlite3.Connection, run_id: str, agent: str) -> tuple[int, int]:
    """Return the picodollars that an agent's calls in a run have cost, or can have, and how many have no known cost."""
    sql = """SELECT coalesce(sum(cost_pico), 0), count(*) - count(cost_pico) FROM model_calls
             WHERE run_id = ? AND agent = ?"""
    spent, unknown = connection.execute(sql, (run_id, agent)).fetchone()
    return spent, unknown


def spent_since(connection: sqlite3.Connection, at: float) -> int:
    """Return the picodollars of all calls since a time."""
    sql = "SELECT coalesce(sum(cost_pico), 0) FROM model_calls WHERE at >= ?"
    return int(connection.execute(sql, (at,)).fetchone()[0])


def sum_by(connection: sqlite3.Connection, column: str, where: str, value: object) -> dict[str, Spent]:
    """Return sums by one of `model`, `agent`, `step`, `run_id`; `where` is one of `run_id`, `session_id`, `at >`."""
    assert column in ("model", "agent", "step", "run_id")
    assert where in ("run_id =", "session_id =", "at >=")
    rows = connection.execute(
        f"""SELECT {column} AS name, count(*) AS calls, sum(input_tokens) AS a, sum(output_tokens) AS b,
                sum(cache_read_tokens) AS c, sum(cache_write_tokens) AS d,
                CASE WHEN count(*) FILTER (WHERE status = 'done' AND cost_pico IS NULL) THEN NULL
                    ELSE coalesce(sum(cost_pico) FILTER (WHERE status = 'done'), 0) END AS cost,
                coalesce(sum(cost_pico) FILTER (WHERE status != 'done'), 0) AS doubt
            FROM model_calls WHERE {where} ? GROUP BY {column} ORDER BY {column}""",
        (value,),
    )
    return {r["name"]: Spent(r["calls"], r["a"], r["b"], r["c"], r["d"], r["cost"], r["doubt"]) for r in rows}


def has_calls(connection: sqlite3.Connection) -> bool:
    """Return whether a model was asked."""
    return connection.execute("SELECT EXISTS (SELECT 1 FROM model_calls)").fetchone()[0] == 1


def forget_old(connection: sqlite3.Connection, before: float) -> None:
    """Forget calls of runs that are deleted, from before a time."""
    connection.execute(
        "DELETE FROM model_calls WHERE at < ? AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)", (before,)
    )
