"""In a later session the agent looks for what it has, and uses it."""

from agent import Agent
from github import REPOSITORIES
from stage import Stage

INTENT = "how popular are these projects on GitHub?"
REPOS = list(REPOSITORIES)


async def play(stage: Stage, agent: Agent) -> None:
    """Search by intent and invoke what is found first."""
    show = stage.transcript
    show.phase(3, "It finds them by intent and invokes the best")
    found = await stage.call(agent, "search_workflows", query=INTENT)
    for workflow in found["workflows"]:
        show.answer(f"{workflow['score']:.2f}  {workflow['call']}")
    best = found["workflows"][0]["name"]
    stage.claim("the first is the one for several repositories", best, "analyze_multiple_repos")
    run = await stage.call(agent, "invoke_workflow", name=best, arguments={"repos": REPOS})
    show.answer(f"{run['status']} in {run['elapsed_seconds']:.2f} s, run {run['run_id']}")
    show.value(run["output"])
    _check(stage, run["status"], run["output"])


def _check(stage: Stage, status: str, output: dict[str, object]) -> None:
    stage.claim("the run is completed", status, "completed")
    if stage.live:
        repos = output["repos"]
        assert isinstance(repos, list)
        stars = [int(repo["stars"]) for repo in repos]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        stage.claim("the total is the sum of the stars that GitHub gave", output["total_stars"], sum(stars))
        stage.claim("every project has stars", all(star > 0 for star in stars), True)
        return
    stars = [known["stargazers_count"] for known in REPOSITORIES.values()]
    stage.claim("the total is the sum of the stars that the API gave", output["total_stars"], sum(stars))
    stage.claim(
        f"seven runs (one, and two for each repository) made {len(REPOS)} requests, one for each repository",
        sorted(stage.github.requests),
        sorted(f"GET /repos/{repo}" for repo in REPOS),
    )
