"""The agent stores what it has worked out: three workflows, each built on the one before."""

from agent import Agent
from stage import Stage

INTENTS = {
    "fetch_json": ["download a JSON document", "call a JSON API"],
    "get_repo_metadata": ["how many stars does a repository have", "what language is a project written in"],
    "analyze_multiple_repos": ["compare the popularity of GitHub projects", "which languages do our repositories use"],
}


async def play(stage: Stage, agent: Agent) -> None:
    """Create the workflows and show one of them."""
    show = stage.transcript
    show.phase(2, "It keeps what it has worked out as workflows")
    if not stage.live:
        show.say(f"{stage.github_url} stands for api.github.com (--live: the real one).")
    if not stage.curl:
        show.say("curl is not installed: the workflows use tools.fetch and tools.http.request instead.")
    for name, intents in INTENTS.items():
        source = stage.source(name)
        if name == "get_repo_metadata":
            show.source(source)
        created = await stage.call(agent, "create_workflow", name=name, source=source, intents=intents)
        show.answer(f"stored as version {created['version']}: {name}{created['signature'].removeprefix(name)}")
        stage.claim(f"{name} is stored, with nothing to mend", (created["created"], created["warnings"]), (True, []))
