"""The agent connects."""

from agent import Agent
from stage import Stage

NEEDED = {
    "approve_run", "create_workflow", "get_guide", "get_run", "invoke_workflow", "run_workflow", "search_workflows",
}  # fmt: skip


async def play(stage: Stage, agent: Agent, level: str) -> None:
    """Show what the agent is told."""
    show = stage.transcript
    show.phase(1, "An agent connects over stdio")
    tools = {tool.name for tool in (await agent.client.list_tools()).tools}
    server = agent.client.server_info
    named = f"{server.name} {server.version}" if server else "a server without a name"
    show.answer(
        f"{named}, protocol {agent.client.protocol_version}, {len(tools)} tools; workflows run in sandbox level {level}"
    )
    stage.claim("the tools to find, create, run and approve workflows are there", NEEDED - tools, set[str]())
    stage.claim(
        "the server tells the agent how to use them", "search_workflows" in (agent.client.instructions or ""), True
    )
