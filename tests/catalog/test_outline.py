"""Drawings of workflows, from their source alone."""

import pytest

from stepwell.catalog.analysis import analyse
from stepwell.catalog.drawing import draw_mermaid, draw_text
from stepwell.catalog.outline import read_outline
from stepwell.errors import InvalidSource

NODES = """
from stepwell import Condition, Loop, Parallel, Router, Step, Steps, Workflow
web = Step(name="web", agent=researcher)
workflow = Workflow("w", steps=[
    Parallel(name="research", steps=[web, Step("papers", executor=papers)], max_concurrency=2),
    write,
    Condition("check", condition=lambda given: True, true_steps=Step("publish", team=crew),
              false_steps=Loop("revise", [Step("again", executor=write)], max_iterations=4)),
    Router("kind", selector=choose, routes={"short": [shorten, write], "none": Steps(steps=[lambda given: 1])}),
])
"""

IMPERATIVE = """
async def inner(ctx):
    await ctx.step("inside", work)
    return await inner(ctx)

async def run(ctx, topic: str):
    notes = await ctx.step("research", agents.researcher(topic), retries=3)
    both = await ctx.gather(a=ctx.step(load, 1), b=tools.github.get(x=1))
    if 'no "<b>" `x`' in notes:
        return ctx.terminate("nothing")
    elif both:
        await ctx.sleep(5)
    for url in both:
        tools.fetch(url=url)
    match topic:
        case "a":
            workflows.report(x=1)
    try:
        await inner(ctx)
    except ValueError:
        await ctx.map(load, [1])
    if topic:
        print(topic)
    await ctx.step("review", requires_approval=True)(notes)
    return await ctx.wait_for_user("Which language?")
"""


def drawn(source: str) -> tuple[str, list[str]]:
    nodes = read_outline(analyse(source, name="w"))
    return draw_text("w", nodes), draw_mermaid("w", nodes).split("\n")


def test_the_nodes_of_a_declarative_workflow_are_drawn_in_full() -> None:
    text, chart = drawn(NODES)

    assert text.split("\n") == [
        "w",
        "├─ Parallel research (2 at once)",
        "│  ├─ Step web (agent researcher)",
        "│  └─ Step papers (executor papers)",
        "├─ Step write (executor write)",
        "├─ Condition check",
        "│  ├─ true:",
        "│  │  └─ Step publish (team crew)",
        "│  └─ false:",
        "│     └─ Loop revise (at most 4 times)",
        "│        └─ Step again (executor write)",
        "└─ Router kind",
        "   ├─ short:",
        "   │  ├─ Step shorten (executor shorten)",
        "   │  └─ Step write (executor write)",
        "   └─ none:",
        "      └─ Steps steps",
        "         └─ Step lambda (executor lambda)",
    ]
    assert chart[:7] == [
        "flowchart TD",
        '  n1(["w"])',
        '  n2{{"Parallel research (2 at once)"}}',
        "  n1 --> n2",
        '  n3["Step web (agent researcher)"]',
        "  n2 --> n3",
        '  n4["Step papers (executor papers)"]',
    ]
    assert '  n6 -->|"false"| n8' in chart
    assert '  n9 -->|"again"| n8' in chart
    assert '  n8 -->|"then"| n10' in chart


def test_imperative_code_is_drawn_by_its_steps_calls_and_branches() -> None:
    text, chart = drawn(IMPERATIVE)

    assert text.split("\n") == [
        "w",
        "├─ Step research (agent researcher)",
        "├─ Parallel",
        "│  ├─ Step load",
        "│  └─ Tool github.get",
        """├─ If 'no "<b>" `x`' in notes""",
        "│  ├─ true:",
        "│  │  └─ End",
        "│  └─ false:",
        "│     └─ If both",
        "│        └─ true:",
        "│           └─ Wait sleep (sleeps)",
        "├─ For url in both",
        "│  └─ Tool fetch",
        "├─ If topic",
        "│  └─ 'a':",
        "│     └─ Workflow report",
        "├─ Step inside (work)",
        "├─ If on ValueError",
        "│  └─ true:",
        "│     └─ Step load (once for each item)",
        "├─ Step review (notes, after an approval)",
        "└─ Wait Which language? (asks a person)",
    ]
    assert """  n6{"If 'no #quot;#lt;b#gt;#quot; #96;x#96;' in notes"}""" in chart
    assert '  n6 -->|"true"| done' in chart
    assert chart[-1] == "  done([done])"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("wf = Workflow('p')\n@wf.step('one', retries=2)\ndef first(x): ...\n", "└─ Step one (first)"),
        ("def run(): return 1\n", "w"),
        ("from stepwell import *\nwf = Workflow('p', steps=make())\n", "└─ Step make() (executor make())"),
        ("x = Agent('writer')\nasync def run(): return await x('go')\n", "└─ Agent writer"),
        (
            "async def run():\n    x, y = Agent('a'), ntx.agent(name='b')\n    await ctx.step(y, 1)\n",
            "└─ Step b (agent b)",
        ),
        ("x = Workflow('w', steps=[f])\nasync def run():\n    await x.arun('go')\n", "   └─ Step f (executor f)"),
        ("x = Team('t', [Agent('a')])\nasync def run():\n    await x.chat('go')\n", "   └─ Agent a"),
    ],
)
def test_what_little_can_be_read_is_drawn(source: str, line: str) -> None:
    text, _ = drawn(source)

    assert text.split("\n")[-1] == line


AGENTS = """
from stepwell import Agent, ConditionalAgent, LoopAgent, ParallelAgent, SequentialAgent
researcher, writer = Agent("researcher"), Agent(name="writer", model="claude-haiku-4-5")
checker = Agent()
review = ParallelAgent(name="review", agents=[checker, agents.editor])
again = LoopAgent("again", agent=review, max_iterations=3)
case = ConditionalAgent("case", condition=lambda text: text, branches={"a": writer, "b": again}, default_branch=checker)
pipeline = SequentialAgent(name="pipeline", agents=[researcher, case])
"""


def test_agents_made_of_agents_are_an_entry_and_drawn_in_full() -> None:
    version = analyse(AGENTS, name="w")
    text, chart = drawn(AGENTS)

    assert (version.entry, version.signature) == ("pipeline", "w(input) -> str")
    assert version.schema["required"] == ["input"]
    assert analyse(AGENTS, name="w", entry="review").entry == "review"
    assert text.split("\n")[1:] == [
        "└─ SequentialAgent pipeline",
        "   ├─ Agent researcher",
        "   └─ ConditionalAgent case",
        "      ├─ a:",
        "      │  └─ Agent writer",
        "      ├─ b:",
        "      │  └─ LoopAgent again (at most 3 times)",
        "      │     └─ ParallelAgent review",
        "      │        ├─ Agent checker",
        "      │        └─ Agent editor",
        "      └─ default:",
        "         └─ Agent checker",
    ]
    assert '  n4{"ConditionalAgent case"}' in chart
    with pytest.raises(InvalidSource, match=r"2 workflows and no `run`: `pipeline` .* `other`"):
        analyse(AGENTS + "other = SequentialAgent('o', [writer])\n", name="w")


def test_a_drawing_is_bounded() -> None:
    text, _ = drawn("def run():\n" + "    tools.fetch(url='x')\n" * 2000)
    deep = "Steps(steps=[" * 80 + "f" + "])" * 80

    calls = "".join(f"def f{n}():\n" + f"    f{n + 1}()\n" * 300 for n in range(8)) + "def f8(): ...\n"

    assert len(text.split("\n")) <= 501
    assert len(drawn("x = LoopAgent('l', agent=x)\ndef run():\n    x.chat('go')\n")[0].split("\n")) < 60
    assert drawn(f"{calls}def run():\n    f0()\n")[0] == "w"
    assert len(drawn(f"from stepwell import *\nwf = Workflow('p', steps=[{deep}])\n")[0]) < 20_000
