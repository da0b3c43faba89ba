"""Workflows of the shapes that other systems document, by own sources; what the pages leave out is at their top."""

AGNT5_HEAD = '''"""A workflow of another system."""
from stepwell.compat.agnt5 import FunctionContext, WorkflowContext, event, function, workflow

@function
async def make(ctx: FunctionContext, what: str) -> dict:
    return {"id": what, "total": 9.5, "valid": what != "bad"}

@function
async def tell(ctx: FunctionContext, thing, subject: str = "hi") -> str:
    return f"{subject} to {thing['id'] if isinstance(thing, dict) else thing}"

@function(retries=3, backoff="constant", timeout_ms=5000)
async def count(ctx: FunctionContext) -> int:
    if ctx.attempt < 2:
        raise ValueError("not yet")
    return ctx.attempt

'''

# Of each: its source, its inputs, its output.
AGNT5 = {
    "basic": (
        "@workflow(triggers=[event('user.signed_up')])\n"
        "async def onboard(ctx: WorkflowContext, email: str) -> dict:\n"
        "    account = await ctx.step(make, email)\n    await ctx.step(tell, account['id'])\n"
        "    return {'status': 'done', 'account': account['id']}\n",
        {"email": "a@b"},
        {"status": "done", "account": "a@b"},
    ),
    "steps": (
        "@workflow\nasync def notify(ctx: WorkflowContext, user: str) -> list:\n"
        "    found = await ctx.step(make, user)\n    direct = await tell(ctx, found, 'direct')\n"
        "    return [await ctx.step(tell, found, 'Welcome!'), direct]\n",
        {"user": "u"},
        ["Welcome! to u", "direct to u"],
    ),
    "parallel": (
        "@workflow\nasync def report(ctx: WorkflowContext, ident: str) -> list:\n"
        "    a, b, c = await ctx.parallel(ctx.step(tell, ident), ctx.step(tell, 'b'), ctx.step(make, 'c'))\n"
        "    return [a, b, c['id']]\n",
        {"ident": "a"},
        ["hi to a", "hi to b", "c"],
    ),
    "gather": (
        "@workflow\nasync def dashboard(ctx: WorkflowContext) -> dict:\n"
        "    return await ctx.gather(one=count(), two=tell('x'), three=make('y'))\n",
        {},
        {"one": 2, "two": "hi to x", "three": {"id": "y", "total": 9.5, "valid": True}},
    ),
    "batch": (
        "@workflow\nasync def bulk(ctx: WorkflowContext, ids: list[str]) -> dict:\n"
        "    result = await ctx.batch(make, [{'what': i} for i in ids], max_concurrency=2)\n"
        "    outputs = await ctx.map(make, [{'what': i} for i in ids])\n"
        "    return {'processed': result.stats.completed_items, 'failed': result.stats.failed_items,\n"
        "            'same': [item['id'] for item in outputs]}\n",
        {"ids": ["a", "b", "c"]},
        {"processed": 3, "failed": 0, "same": ["a", "b", "c"]},
    ),
    "sleep": (
        "@workflow\nasync def follow_up(ctx: WorkflowContext, user: str) -> str:\n"
        "    await ctx.step(tell, user)\n    await ctx.sleep(0.01, name='wait_24h')\n"
        "    await ctx.step(tell, user, 'again')\n    return 'Follow-up sent.'\n",
        {"user": "u"},
        "Follow-up sent.",
    ),
    "state": (
        "@workflow\nasync def stateful(ctx: WorkflowContext, user: str) -> dict:\n"
        "    await ctx.state.set('phase', 'started')\n"
        "    count = await ctx.session.state.get('visits', 0)\n"
        "    await ctx.session.state.set('visits', count + 1)\n    return {'visits': count + 1}\n",
        {"user": "u"},
        {"visits": 1},
    ),
    "order": (
        "@workflow\nasync def order(ctx: WorkflowContext, order_id: str) -> dict:\n"
        "    order = await ctx.step(make, order_id)\n    if not order['valid']:\n"
        "        return {'status': 'invalid', 'order_id': order_id}\n"
        "    charge = await ctx.step(make, order_id + '-charge')\n    await ctx.step(tell, order_id, charge['id'])\n"
        "    return {'status': 'complete', 'charge': charge['id']}\n",
        {"order_id": "bad"},
        {"status": "invalid", "order_id": "bad"},
    ),
    "asks": (
        "@workflow\nasync def asks(ctx: WorkflowContext, order_id: str) -> dict:\n"
        "    summary = await ctx.step(make, order_id)\n"
        "    decision = await ctx.wait_for_user(question=f'Approve {summary}?', input_type='approval',\n"
        "        options=[{'id': 'approve', 'label': 'Approve'}, {'id': 'reject', 'label': 'Reject'}])\n"
        "    return {'status': decision}\n",
        {"order_id": "o"},
        {"status": "approve"},
    ),
}

NINETRIX_HEAD = '''"""A workflow of another system."""
from stepwell.compat.ninetrix import Ninetrix, Workflow

ntx = Ninetrix(provider="anthropic", model="claude-test")
researcher = ntx.agent(name="researcher", instructions="Find information.")
writer = ntx.agent(name="writer", instructions="Write a report.", model="claude-test")
publisher = ntx.agent(name="publisher", instructions="Publish.")

'''

NINETRIX = {
    "basic": (
        "@Workflow(durable=True)\nasync def report(topic: str, wf: Workflow):\n"
        "    research = await wf.step('research')(researcher.arun(f'Research: {topic}'))\n"
        "    report = await wf.step('write')(writer.arun(f'Write: {research.output}'))\n    return report.output\n",
        "echo: Write: echo: Research: T",
    ),
    "parallel": (
        "@Workflow(durable=True)\nasync def sources(topic: str, wf: Workflow):\n"
        "    results = await wf.parallel(researcher.arun(f'papers: {topic}'), researcher.arun(f'news: {topic}'))\n"
        "    combined = '+'.join(r.output for r in results)\n"
        "    report = await wf.step('synthesize')(writer.arun(combined))\n    return report.output\n",
        "echo: echo: papers: T+echo: news: T",
    ),
    "gate": (
        "@Workflow(durable=True)\nasync def publish(topic: str, wf: Workflow):\n"
        "    draft = await wf.step('draft')(writer.arun(topic))\n"
        "    await wf.step('review', requires_approval=True)(draft)\n"
        "    published = await wf.step('publish')(publisher.arun(f'Publish: {draft.output}'))\n"
        "    return published.output\n",
        "echo: Publish: echo: T",
    ),
}

NINETRIX_SCRIPT = """
@Workflow(durable=True, max_budget=50.0)
async def report(topic: str, wf: Workflow):
    pair = await wf.parallel(researcher.arun(topic), researcher.arun("more"))
    draft = await wf.step("draft")(writer.arun(topic))
    await wf.step("kept")(draft)
    return draft.output

@Workflow
async def guarded(topic: str, wf: Workflow):
    found = await wf.step("research")(researcher.arun(topic))
    if "no results" in found.output.lower():
        return wf.terminate("No relevant information found")
    return await wf.step("write")(writer.arun(found.output))

result = await report("T")
again = await report("U")
ended = await guarded("no results")
[result.output, list(result.step_results), result.tokens_used, result.cost_usd, result.elapsed_seconds >= 0,
    again.output, ended.terminated, ended.termination_reason, ended.output, researcher.provider, writer.model,
    result.budget_limit_usd, round(result.budget_remaining_usd, 9), result.skipped_steps]
"""

SAGEWAI_HEAD = """
import asyncio
from stepwell.compat.sagewai import (ApprovalGate, DurableWorkflow, InferenceParams, ParallelAgent, PostgresStore,
    SagewaiBudgetExceededError, SequentialAgent, TokenBudgetGuard, UniversalAgent)

"""

SAGEWAI_AGENTS = """
researcher = UniversalAgent(name="researcher", model="gpt-4o")
writer = UniversalAgent(name="writer", model="claude-test")
checker = UniversalAgent(name="fact-checker", model="gpt-4o", api_key="sk-ignored")
editor = UniversalAgent(name="editor", model="gpt-4o", inference=InferenceParams.from_preset("precise"))
review = ParallelAgent(name="review", agents=[checker, editor], durability="checkpoint", workflow_store=None)
pipeline = SequentialAgent(name="pipeline", agents=[researcher, writer, review])
result = await pipeline.chat("Write about wells")
result
"""

SAGEWAI_GUARD = """
guarded = UniversalAgent(name="guarded", model="gpt-4o", guardrails=[TokenBudgetGuard(max_usd=0.5), object()])
try:
    await guarded.chat("hi")
except SagewaiBudgetExceededError:
    print("not reached")
"""

SAGEWAI_STEPS = """
store = PostgresStore(database_url="postgresql://localhost/other")
await store.initialize()
researcher = UniversalAgent(name="researcher", model="gpt-4o")
writer = UniversalAgent(name="writer", model="gpt-4o")
wf = DurableWorkflow(name="article-pipeline", store=store)

@wf.step("research")
async def research(topic: str) -> str:
    return await researcher.chat(topic)

@wf.step("draft", retries=3, retry_delay=2.0)
async def draft(research_output: str) -> str:
    return await writer.chat(f"Article: {research_output}")

@wf.step("publish", timeout=30.0)
async def publish(draft: str) -> str:
    return f"Published: {draft}"

result = await wf.run(run_id="r1", topic="wells")
again = await wf.run(run_id="r1")
[result, again == result]
"""

SAGEWAI_WHOLE = """
async def main():
    store = PostgresStore(database_url="postgresql://localhost/other")
    await store.initialize()
    researcher = UniversalAgent(name="researcher", model="gpt-4o")
    wf = DurableWorkflow(name="article-pipeline", store=store)
    gate = ApprovalGate(workflow=wf)

    @wf.step("research")
    async def research(topic: str) -> str:
        return await researcher.chat(f"Research: {topic}")

    @wf.step("review")
    async def review(content: str) -> str:
        await gate.request_approval(prompt=f"Approve: {content[:200]}...", context={"content": content})
        return content

    result = await wf.run(topic="wells")
    print(result)
    return result

asyncio.run(main())
"""

SAGEWAI_STORED = '''"""A pipeline of another system."""
from stepwell.compat.sagewai import ApprovalGate, DurableWorkflow, InMemoryStore, UniversalAgent

writer = UniversalAgent(name="writer", model="gpt-4o")
wf = DurableWorkflow(name="content-pipeline", store=InMemoryStore())
gate = ApprovalGate(workflow=wf)

@wf.step("draft")
async def draft(topic: str) -> str:
    return await writer.chat(f"Write about: {topic}")

@wf.step("review")
async def review(content: str) -> str:
    await gate.request_approval(prompt=f"Approve publication of: {content[:200]}...", context={"content": content})
    return content

@wf.step("publish")
async def publish(approved: str) -> str:
    return f"Published: {approved}"
'''

DEFINABLE_SCRIPT = """
import asyncio
from stepwell.compat.definable import Agent, Parallel, Step, Workflow

researcher = Agent(model="gpt-4o", instructions="You are a research specialist.")
writer = Agent(model="gpt-4o", instructions="You are a technical writer.")

async def process(step_input):
    data = step_input.get_last_step_content()
    return f"Processed: {data}"

workflow = Workflow(
    name="research-pipeline",
    steps=[
        Parallel(name="research", steps=[
            Step(name="web-research", agent=researcher),
            Step(name="analysis", agent=writer),
        ]),
        Step(name="writer", agent=writer),
        Step(name="processor", executor=process),
    ],
)
async def main():
    result = await workflow.arun("wells")
    print(result.content)
    return [result.content, result.get_step_output("web-research").content]
asyncio.run(main())
"""

DEFINABLE_NESTED = '''"""Research, write, revise until it is approved."""
from stepwell.compat.definable import Agent, Condition, Loop, Parallel, Step, Workflow

web_researcher, paper_reader, writer = Agent(model="gpt-4o"), Agent(model="gpt-4o"), Agent(model="gpt-4o")
publisher, reviewer = Agent(model="gpt-4o"), Agent(model="gpt-4o", instructions="Review.")
workflow = Workflow(
    name="full-pipeline",
    steps=[
        Parallel(name="research", steps=[
            Step(name="web", agent=web_researcher),
            Step(name="papers", agent=paper_reader),
        ]),
        Step(name="writer", agent=writer),
        Condition(
            name="quality-check",
            condition=lambda ctx: "APPROVED" in (ctx.get_last_step_content() or ""),
            true_steps=Step(name="publish", agent=publisher),
            false_steps=Loop(
                name="revise",
                steps=[Step(name="rewrite", agent=writer), Step(name="review", agent=reviewer)],
                end_condition=lambda outputs: any("APPROVED" in (o.content or "") for o in outputs),
                max_iterations=3,
            ),
        ),
    ],
)
'''

CREDENTIALS = """
from stepwell.compat.sagewai import InferenceParams, get_worker_credentials
def try_it():
    try:
        InferenceParams(temperature=3)
    except ValueError as error:
        return str(error)
params = InferenceParams(api_base="http://localhost:11434")
async def read():
    return get_worker_credentials()
inside = await ctx.step("read", read)
[inside.model_overrides, inside.inference_overrides, try_it(), [params.temperature, params.timeout, params.api_base],
    InferenceParams.from_preset("precise", top_k=5).given()]
"""
