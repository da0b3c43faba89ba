"""The workflows that are measured."""

DO_NOTHING = "def do_nothing(i):\n    return i\n\n\n"
NOTHING = "def run():\n    return 1\n"
ASYNC_STEPS = (
    DO_NOTHING
    + "async def run(ctx, n: int):\n    for i in range(n):\n        await ctx.step('s', do_nothing, i)\n    return n\n"
)
SYNC_STEPS = (
    DO_NOTHING + "def run(ctx, n: int):\n    for i in range(n):\n        ctx.step('s', do_nothing, i)\n    return n\n"
)
ASYNC_RESUMED = ASYNC_STEPS.replace("    return n\n", "    await ctx.wait_for_user('?')\n    return n\n")
SYNC_RESUMED = SYNC_STEPS.replace("    return n\n", "    ctx.wait_for_user('?')\n    return n\n")
# Apart from each other for longer than a commit is put off. In the body clocks are the run's, so it counts.
PAUSE = "def pause():\n    for _ in range(3_000_000):\n        pass\n\n\n"
CHANGES = (
    PAUSE
    + """
def change(base, i):
    return tools.http.request(method="POST", url=f"{base}/{i}", json={})["status"]

def run(ctx, base: str, n: int):
    for i in range(n):
        ctx.step("change", change, base, i)
        pause()
"""
)
READS = (
    PAUSE
    + """
def read(base, i):
    return tools.fetch(url=f"{base}/{i}")

def run(ctx, base: str, n: int):
    for i in range(n):
        ctx.step("read", read, base, i)
        pause()
"""
)
RESTS = PAUSE + "def run(ctx, n: int):\n    for i in range(n):\n        pause()\n"
ASKS = "def run(ctx, who: str):\n    return ctx.wait_for_user(f'Shall {who} have it?')\n"
SLEEPS = "def run(ctx, who: str):\n    ctx.sleep(30 * 24 * 3600)\n"
LISTENS = "def run(ctx, who: str):\n    return ctx.wait_for_event('paid')\n"
