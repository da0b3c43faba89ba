"""Random workflow programs: every construct that an author may combine, in random combinations, from a seed.

A program records everything that its branches see, in the order in which they see it, in `seen`, and hands that
list to later calls: whatever changes the order on a replay changes an argument and is found. Every value that
comes from outside names the call that asked for it (its tag), and the program fails if a branch gets the value of
another one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FAILS = 1  # reads of `/flaky/TAG` that are answered before a flaky step stops failing

PREAMBLE = """
import asyncio, datetime, json, random, secrets, time, uuid
from stepwell import BatchError, FunctionContext, function

seen = []
box = {"last": None}

def note(mine, tag, got):
    got = json.loads(got) if isinstance(got, str) else got
    if got["tag"] != tag:
        raise AssertionError(f"{tag} got the value of {got['tag']}")
    mine.append([tag, got["n"]])
    seen.append([tag, got["n"]])
    box["last"] = tag

def saw(mine, *what):
    mine.append(list(what))
    seen.append(list(what))

def read():
    one = random.Random()
    return [time.time(), str(datetime.datetime.now()), random.random(), one.random(), random.gauss(0, 1),
            str(uuid.uuid4()), str(uuid.uuid1()), secrets.token_hex(4), time.strftime("%X"), ctx.now().isoformat()]

def stamped(base, tag):
    print("ran", tag)
    first = json.loads(tools.curl.post(url=f"{base}/effect/{tag}.1", json={"read": read()}))["n"]
    tools.fetch(url=f"{base}/r/{tag}")
    last = json.loads(tools.curl.post(url=f"{base}/effect/{tag}.2", json={"read": [read(), first]}))["n"]
    return {"tag": tag, "n": [first, last, read()]}

async def stamping(base, tag):
    print("ran", tag)
    async def branch(n):
        got = json.loads(await ctx.step(tools.curl.post, url=f"{base}/effect/{tag}.{n}", json={"read": read()}))
        return [got["n"], read()]
    mine = read()
    got = await asyncio.gather(branch(1), branch(2), ctx.step(stamped, base, f"{tag}.{mine[5]}"), branch(3))
    paid = json.loads(tools.curl.post(url=f"{base}/effect/{tag}.4", json={"read": [read(), mine, str(got)]}))
    return {"tag": tag, "n": paid["n"]}

def work(base, tag):
    print("ran", tag)
    return json.loads(tools.fetch(url=f"{base}/r/{tag}"))

def pay(base, tag):
    print("ran", tag)
    return json.loads(tools.curl.post(url=f"{base}/effect/{tag}", json={}))

def several(base, tag):
    print("ran", tag)
    first = json.loads(tools.fetch(url=f"{base}/r/{tag}"))["n"]
    paid = json.loads(tools.curl.post(url=f"{base}/effect/{tag}", json={"after": first}))["n"]
    last = json.loads(tools.fetch(url=f"{base}/r/{tag}"))["n"]
    return {"tag": tag, "n": [first, paid, last]}

async def light(base, tag):
    print("ran", tag)
    await asyncio.sleep(0.002)
    return json.loads(await tools.fetch(url=f"{base}/r/{tag}"))

async def nested(base, tag):
    print("ran", tag)
    a, b = await ctx.parallel(ctx.step(work, base, tag + ".a"), ctx.step(tools.fetch, url=f"{base}/r/{tag}.b"))
    if (a["tag"], json.loads(b)["tag"]) != (tag + ".a", tag + ".b"):
        raise AssertionError(f"{tag} got {a} and {b}")
    c = await ctx.step(pay, base, tag + ".c")
    return {"tag": tag, "n": [a["n"], json.loads(b)["n"], c["n"]]}

def flaky(base, tag):
    print("ran", tag)
    got = json.loads(tools.fetch(url=f"{base}/flaky/{tag}"))
    paid = tools.curl.post(url=f"{base}/effect/{tag}", json={})
    if got["count"] <= FAILS:
        raise ValueError(f"{tag} failed")
    return got

@function(retries=2, retry_delay=0.01)
def declared(ctx: FunctionContext, base, tag):
    print("ran", tag)
    paid = tools.curl.post(url=f"{base}/effect/{tag}", json={})
    got = json.loads(tools.fetch(url=f"{base}/r/{tag}"))
    if ctx.attempt < 2:
        raise ValueError(f"{tag} failed")
    return got

def broken(base, tag):
    print("ran", tag)
    tools.fetch(url=f"{base}/r/{tag}")
    raise KeyError(tag)

def odd(base, tag):
    got = work(base, tag)
    if tag.endswith(".1"):
        raise ValueError(f"{tag} failed")
    return got

def count(tag):
    return ctx.state.update("steps", lambda n: n + 1, 0) > 0

def size(items):
    return {"tag": "size", "n": len(items)}
""".replace("FAILS", str(FAILS))

RETURN = "return {'seen': seen, 'last': box}"

ALL = frozenset(
    {"races", "cancel", "waits", "children", "errors", "clock", "objects", "deadlines", "callables", "described",
     "batches", "state"}
)  # fmt: skip
"""Groups of constructs, to leave some out."""


@dataclass(frozen=True, slots=True)
class Program:
    """One workflow and the ones that it invokes."""

    seed: str
    source: str
    children: dict[str, str]
    racy: bool
    """Whether the keys of its calls depend on what happens to end first, or fails."""
    concurrent: bool
    """Whether things happen beside each other in its body, so that their order may be another one each time."""


def generate(seed: str, groups: frozenset[str] = ALL, skip: frozenset[str] = frozenset()) -> Program:
    """Return the program of a seed; `skip` are paths of statements to leave out."""
    rng = random.Random(seed)
    children: dict[str, str] = {}
    racy = concurrent = False
    if "children" in groups:
        for n in range(rng.choice((0, 0, 1, 2))):
            name = f"child_{seed.replace('-', '_')}_{n}"
            # A child may invoke those before it.
            writer = Writer(f"{seed}/{n}", groups, tuple(children), skip, small=True)
            children[name] = writer.module(rng.random() < 0.3)
            racy = racy or writer.racy
            concurrent = concurrent or writer.concurrent
    writer = Writer(seed, groups, tuple(children), skip, small=False)
    source = writer.module(rng.random() < 0.2)
    return Program(seed, source, children, racy or writer.racy, concurrent or writer.concurrent)


@dataclass
class Writer:
    """Writes one module."""

    seed: str
    groups: frozenset[str]
    children: tuple[str, ...]
    skip: frozenset[str]
    small: bool
    functions: list[str] = field(default_factory=list[str])
    paths: list[str] = field(default_factory=list[str])
    racy: bool = False
    concurrent: bool = False

    def module(self, blocking: bool) -> str:
        """Return the source; `blocking` is a program without async."""
        rng = random.Random(f"{self.seed}:module")
        count = rng.randint(1, 3) if self.small else rng.randint(2, 6)
        body = self.block("m", count, 0, blocking)
        end = "raise RuntimeError(f'end {len(seen)}')" if rng.random() < 0.08 and "errors" in self.groups else ""
        lines = [
            f"{'' if blocking else 'async '}def run(ctx, base: str, p: str):",
            "    mine = []",
            *("    " + line for line in body),
            f"    {end or RETURN}",
        ]
        option = 'options = dict(durability="step")\n' if rng.random() < 0.3 else ""
        return "\n".join((option + PREAMBLE, *self.functions, "\n".join(lines), ""))

    def block(self, path: str, count: int, depth: int, blocking: bool) -> list[str]:
        """Return statements that use `base`, `p` and `mine`."""
        lines: list[str] = []
        for n in range(count):
            lines += self.statement(f"{path}_{n}", depth, blocking)
        return lines or ["pass"]

    def statement(self, path: str, depth: int, blocking: bool) -> list[str]:
        self.paths.append(path)
        rng = random.Random(f"{self.seed}:{path}")
        kinds = SYNC if blocking else ASYNC
        allowed = [k for k in kinds if (k.group is None or k.group in self.groups) and (depth < 2 or not k.nests)]
        kind = rng.choices(allowed, [k.weight for k in allowed])[0]
        if path in self.skip:
            return ["pass"]
        self.concurrent = self.concurrent or kind.beside
        return kind.write(self, rng, path, f'f"{{p}}.{path}"', depth)

    def branch(self, path: str, depth: int, count: int = 0) -> str:
        """Write an async function of some statements; return its name."""
        name = f"b_{path}"
        rng = random.Random(f"{self.seed}:{path}:branch")
        body = self.block(path, count or rng.randint(1, 3), depth + 1, False)
        self.functions.append("\n".join((
            f"async def {name}(base, p):", "    mine = []", *("    " + line for line in body), "    return mine",
        )))  # fmt: skip
        return name


Write = Callable[[Writer, random.Random, str, str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    weight: float
    write: Write
    nests: bool = False
    group: str | None = None
    beside: bool = False
    """Whether it does several things beside each other in the body."""


def plain(*forms: str) -> Write:
    """Return a writer of one of some templates: T is the tag, N a name, lines are separated by newlines."""

    def write(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
        form = rng.choice(forms).replace("NAME", rng.choice(("'one'", "'two'", f"'own_{path}'")))
        return form.replace("TAG", tag).replace("PAUSE", rng.choice(("0.004", "0.01", "0.03"))).split("\n")

    return write


def late(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
    """A deadline that may pass or not."""
    writer.racy = True
    return plain(*DEADLINES)(writer, rng, path, tag, depth)


def loop(blocking: bool) -> Write:
    def write(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
        body = writer.block(path, rng.randint(1, 2), depth + 1, blocking)
        outer = f"p_{path}"
        head = rng.choice(("range(2)", "range(3)", "{'x', 'yy', 'zzz'}", "['a', 'b']"))
        return [
            f"{outer} = p",
            f"for i_{path} in {head}:",
            f"    p = f'{{{outer}}}.{path}.{{i_{path}}}'",
            *("    " + line for line in body),
            f"p = {outer}",
        ]

    return write


def caught(blocking: bool) -> Write:
    def write(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
        body = writer.block(path, 1, depth + 1, blocking)
        wait = "" if blocking else "await "
        return [
            "try:",
            *("    " + line for line in body),
            f"    {wait}ctx.step(broken, base, {tag})",
            "except KeyError as error:",
            f"    saw(mine, 'caught', {tag}, str(error))",
        ]

    return write


def beside(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
    """Branches whose results are taken in the order in which they were started."""
    many = rng.randint(2, 4)
    name = writer.branch(path, depth)
    calls = [f"{name}(base, f'{{p}}.{path}.{n}')" for n in range(many)]
    together = ", ".join(calls)
    form = rng.choice(("gather", "parallel", "named", "tasks", "group", "mixed", "step", "deferred"))
    if form == "step" and "described" not in writer.groups:
        form = "deferred"
    match form:
        case "gather":
            return [f"saw(mine, 'all', {tag}, await asyncio.gather({together}))"]
        case "parallel":
            return [f"saw(mine, 'all', {tag}, await ctx.parallel({together}))"]
        case "named":
            named = ", ".join(f"k{n}={call}" for n, call in enumerate(calls))
            return [f"saw(mine, 'all', {tag}, await ctx.gather({named}))"]
        case "tasks":
            between = writer.statement(f"{path}_between", depth + 1, False)
            return [
                f"ts_{path} = [asyncio.create_task(call) for call in ({together},)]",
                *between,
                *(f"saw(mine, 'task', {tag}, await ts_{path}[{n}])" for n in rng.sample(range(many), many)),
            ]
        case "group":
            return [
                f"async with asyncio.TaskGroup() as g_{path}:",
                f"    ts_{path} = [g_{path}.create_task(call) for call in ({together},)]",
                f"saw(mine, 'group', {tag}, [t.result() for t in ts_{path}])",
            ]
        case "mixed":
            return [
                f"x_{path} = await ctx.parallel({calls[0]}, ctx.step(work, base, {tag}), {calls[1]},"
                f" ctx.step(tools.curl.post, url=base + '/effect/' + {tag}, json={{}}))",
                f"saw(mine, 'mixed', {tag}, x_{path})",
            ]
        case "step":
            return [f"saw(mine, 'steps', {tag}, await ctx.step('all', ctx.parallel(ctx.step(work, base, {tag} + '.1'),"
                    f" ctx.step(light, base, {tag} + '.2'))))"]  # fmt: skip
        case _:
            made = f"[ctx.step(work, base, f'{{p}}.{path}.{{n}}') for n in range({many})]"
            return [f"for got in await asyncio.gather(*{made}): note(mine, got['tag'], got)"]


def race(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
    """Branches whose results are taken in the order in which they end."""
    name = writer.branch(path, depth)
    form = rng.choice(("wait", "completed", "winner", "queue", "lock", "bare"))
    if "objects" not in writer.groups and form == "bare":
        form = "completed"
    if "cancel" not in writer.groups and form == "winner":
        form = "wait"
    make = f"asyncio.create_task({name}(base, f'{{p}}.{path}.{{n}}'), name=str(n)) for n in range({rng.randint(2, 4)})"
    ordered = f"d_{path}" if "objects" in writer.groups else f"sorted(d_{path}, key=lambda t: t.get_name())"
    match form:
        case "wait":
            return [
                f"w_{path} = {{{make}}}",
                f"while w_{path}:",
                f"    d_{path}, w_{path} = await asyncio.wait(w_{path}, return_when=asyncio.FIRST_COMPLETED)",
                f"    for t in {ordered}: saw(mine, 'done', {tag}, t.get_name(), t.result())",
            ]
        case "completed":
            return [
                f"for f_{path} in asyncio.as_completed([{make}]):",
                f"    saw(mine, 'next', {tag}, await f_{path})",
            ]
        case "bare":
            return [
                f"for f_{path} in asyncio.as_completed([{name}(base, f'{{p}}.{path}.{{n}}') for n in range(3)]):",
                f"    saw(mine, 'next', {tag}, await f_{path})",
            ]
        case "winner":
            writer.racy = True
            one = writer.statement(f"{path}_one", depth + 1, False)
            two = writer.statement(f"{path}_two", depth + 1, False)
            losers = f"w_{path}" if "objects" in writer.groups else f"sorted(w_{path}, key=lambda t: t.get_name())"
            return [
                f"d_{path}, w_{path} = await asyncio.wait([{make}], return_when=asyncio.FIRST_COMPLETED)",
                f"first_{path} = min(t.get_name() for t in d_{path})",
                f"saw(mine, 'first', {tag}, first_{path})",
                f"for t in {losers}: t.cancel()",
                f"if first_{path} == '0':",
                *("    " + line for line in one),
                "else:",
                *("    " + line for line in two),
            ]
        case "queue":
            return [
                f"q_{path} = asyncio.Queue()",
                f"async def put_{path}(n):",
                f"    await q_{path}.put((n, await {name}(base, f'{{p}}.{path}.{{n}}')))",
                f"ts_{path} = [asyncio.create_task(put_{path}(n)) for n in range(3)]",
                f"for _ in range(3): saw(mine, 'got', {tag}, await q_{path}.get())",
                f"await asyncio.gather(*ts_{path})",
            ]
        case _:
            return [
                f"l_{path} = asyncio.Semaphore({rng.randint(1, 2)})",
                f"async def held_{path}(n):",
                f"    async with l_{path}:",
                f"        saw(mine, 'enters', {tag}, n, box['last'])",
                f"        return await {name}(base, f'{{p}}.{path}.{{n}}')",
                f"await asyncio.gather(*(held_{path}(n) for n in range(3)))",
            ]


def failing(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
    """One branch fails, the others are cancelled or go on."""
    writer.racy = True
    name = writer.branch(path, depth)
    bad = f"ctx.step(broken, base, {tag})"
    if rng.random() < 0.5 and "cancel" in writer.groups:
        return [
            "try:",
            f"    async with asyncio.TaskGroup() as g_{path}:",
            f"        g_{path}.create_task({name}(base, f'{{p}}.{path}.0'))",
            f"        g_{path}.create_task({bad})",
            "except* KeyError as errors:",
            f"    saw(mine, 'group failed', {tag}, [str(e) for e in errors.exceptions])",
        ]
    return [
        f"r_{path} = await asyncio.gather({name}(base, f'{{p}}.{path}.0'), {bad}, return_exceptions=True)",
        f"saw(mine, 'with errors', {tag}, [r if isinstance(r, list) else repr(r) for r in r_{path}])",
    ]


def child(blocking: bool) -> Write:
    def write(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
        if not writer.children:
            return [f"note(mine, {tag}, tools.fetch(url=base + '/r/' + {tag}))"]
        name = rng.choice(writer.children)
        if blocking or rng.random() < 0.4:
            call = f"workflows.invoke('{name}', base=base, p={tag})"
        else:
            call = f"await ctx.invoke('{name}', base=base, p={tag})"
        return [
            "try:",
            f"    saw(mine, 'child', {tag}, {call})",
            "except Exception as error:",
            f"    saw(mine, 'child failed', {tag}, type(error).__name__, str(error))",
        ]

    return write


CALLS = (
    "note(mine, TAG, tools.fetch(url=base + '/r/' + TAG))",
    "note(mine, TAG, tools.curl.post(url=base + '/effect/' + TAG, json={}))",
)
STEPS = (
    "ctx.step(work, base, TAG)", "ctx.step(pay, base, TAG)", "ctx.step(several, base, TAG)",
    "ctx.step(NAME, work, base, TAG)", "ctx.step(NAME, lambda tag=TAG: several(base, tag))",
    "ctx.step(NAME)(pay, base, TAG)", "ctx.step(tools.fetch, url=base + '/r/' + TAG)",
    "ctx.step(NAME, tools.curl.post, url=base + '/effect/' + TAG, json={})",
    "ctx.step(declared, base, TAG)", "ctx.step(several, base, TAG, timeout=30)",
)  # fmt: skip
ASYNC_STEPS = (
    "ctx.step(light, base, TAG)", "ctx.step(nested, base, TAG)", "ctx.step(NAME, nested(base, TAG))",
    "ctx.step(NAME)(light(base, TAG))", "ctx.step(nested, base, TAG, timeout=30, retries=1)",
)  # fmt: skip
BLOCKS = (
    "WITH ctx.step(NAME) as s:\n    s.value = json.loads(tools.fetch(url=base + '/r/' + TAG))\n"
    "note(mine, TAG, s.value)",
    "WITH ctx.step(NAME) as s:\n    s.value = WAIT ctx.step(pay, base, TAG)\nnote(mine, TAG, s.value)",
)
FLAKY = ("note(mine, TAG, WAIT ctx.step(flaky, base, TAG, retries=4, retry_delay=PAUSE))",)
WITNESS = ("saw(mine, 'size', WAIT ctx.step('size', size, list(seen)))",)
SLEEPS = ("WAIT ctx.sleep(PAUSE)", "WAIT ctx.sleep(PAUSE, name=NAME)")
KEEP = ("artifacts.save(TAG, {'tag': TAG, 'n': len(seen)})\nnote(mine, TAG, artifacts.load(TAG))",)
ASK = (
    "note(mine, TAG, WAIT ctx.wait_for_user(TAG))",
    "saw(mine, TAG, WAIT ctx.step(NAME, requires_approval=True)(TAG))",
)
CLOCK = (
    "saw(mine, WAIT ctx.step(NAME, str, ctx.now().isoformat()))",
    "saw(mine, WAIT ctx.step(NAME, str, ctx.uuid()), ctx.random().random())",
    "saw(mine, TAG, read())",
    "saw(mine, TAG, read(), time.monotonic(), random.sample(range(99), 3))",
    "got = tools.curl.post(url=base + '/effect/' + TAG, json={'read': read()})\nnote(mine, TAG, got)",
    "note(mine, TAG, WAIT ctx.step(stamped, base, TAG))",
    "note(mine, TAG, WAIT ctx.step(stamping, base, TAG))",
    "note(mine, TAG, WAIT ctx.step(NAME, stamped, base, TAG, timeout=30))",
)
DEADLINES = (
    "try:\n    note(mine, TAG, await asyncio.wait_for(ctx.step(work, base, TAG), PAUSE))\n"
    "except TimeoutError:\n    saw(mine, 'late', TAG)",
    "try:\n    async with asyncio.timeout(PAUSE):\n        note(mine, TAG, await ctx.step(light, base, TAG))\n"
    "except TimeoutError:\n    saw(mine, 'late', TAG)",
)
CALLABLES = (
    "for got in await ctx.parallel(*(lambda n=n, tag=TAG: several(base, f'{tag}.{n}') for n in range(3))):\n"
    "    note(mine, got['tag'], got)\n    saw(mine, got)",
    "note(mine, TAG, await asyncio.to_thread(tools.fetch, url=base + '/r/' + TAG))",
)


STATE = (
    "box['last'] = WAIT ctx.state.update('n', lambda n: n + 1, 0)\nsaw(mine, 'n', TAG, box['last'])",
    "ctx.state.set(NAME, TAG)\nsaw(mine, 'state', WAIT ctx.state.get(NAME), WAIT ctx.state.keys())",
    "AWAIT ctx.session.state.set(TAG, {'tag': TAG, 'n': len(seen)})\n"
    "note(mine, TAG, WAIT ctx.session.state.get(TAG))\nctx.session.state.delete(TAG)",
    "saw(mine, 'counted', TAG, WAIT ctx.step(NAME, count, TAG))",
)
BATCHES = (
    "for got in WAIT ctx.map(FN, ITEMS, max_concurrency=WIDTH): note(mine, got['tag'], got)",
    "r = WAIT ctx.batch(odd, ITEMS, max_concurrency=WIDTH)\n"
    "saw(mine, 'batch', TAG, r.status, r.outputs, r.stats, [item.duration_ms for item in r.results])",
    "r = WAIT ctx.batch(flaky, ITEMS, retries=4, retry_delay=PAUSE, max_concurrency=WIDTH)\n"
    "saw(mine, 'batch', TAG, r.batch_id, r.outputs, r.stats)",
    "try:\n    saw(mine, WAIT ctx.map(odd, ITEMS, name=NAME, max_concurrency=WIDTH))\n"
    "except BatchError as error:\n    saw(mine, 'map', TAG, str(error), error.failed, error.result.stats)",
)
STOPPED = (
    "r = WAIT ctx.batch(odd, ITEMS, max_concurrency=WIDTH, continue_on_failure=False)\n"
    "saw(mine, 'stopped', TAG, r.status, r.outputs, [item.status for item in r.results])",
)


def batched(wait: str) -> Write:
    """Return a writer of one function for several items."""

    def write(writer: Writer, rng: random.Random, path: str, tag: str, depth: int) -> list[str]:
        stops = rng.random() < 0.25
        writer.racy = writer.racy or stops  # which items are begun depends on what ends first
        form = rng.choice(STOPPED if stops else BATCHES).replace("WAIT ", wait)
        items = f"[{{'base': base, 'tag': {tag} + f'.{{n}}'}} for n in range({rng.randint(2, 6)})]"
        form = form.replace("ITEMS", items).replace("WIDTH", str(rng.randint(1, 4)))
        return plain(form.replace("FN", rng.choice(("work", "pay", "several", "light", "nested"))))(
            writer, rng, path, tag, depth
        )

    return write


def _blocking(forms: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(form.replace("AWAIT ", "").replace("WAIT ", "").replace("WITH", "with") for form in forms)


def _awaited(forms: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        form.replace("AWAIT ", "await ").replace("WAIT ", "await ").replace("WITH", "async with") for form in forms
    )


def _noted(forms: tuple[str, ...], wait: str) -> tuple[str, ...]:
    return tuple(f"note(mine, TAG, {wait}{form})" for form in forms)


SYNC = (
    Kind(2, plain(*CALLS)),
    Kind(6, plain(*_noted((*STEPS, *ASYNC_STEPS[:2]), ""))),
    Kind(1, plain(*_blocking(BLOCKS))),
    Kind(1, plain(*_blocking(FLAKY)), group="errors"),
    Kind(2, plain(*_blocking(WITNESS))),
    Kind(1, plain(*_blocking(SLEEPS), "time.sleep(PAUSE)")),
    Kind(0.5, plain(*KEEP)),
    Kind(0.7, plain(*_blocking(ASK)), group="waits"),
    Kind(1.5, plain(*_blocking(CLOCK)), group="clock"),
    Kind(1, child(True), group="children"),
    Kind(1, batched(""), group="batches", beside=True),
    Kind(1, plain(*_blocking(STATE)), group="state"),
    Kind(2, loop(True), nests=True),
    Kind(1, caught(True), nests=True, group="errors"),
)
ASYNC = (
    Kind(2, plain(*CALLS, "note(mine, TAG, await tools.fetch(url=base + '/r/' + TAG))")),
    Kind(6, plain(*_noted((*STEPS, *ASYNC_STEPS), "await "))),
    Kind(1, plain(*_awaited(BLOCKS))),
    Kind(1, plain(*_awaited(FLAKY)), group="errors"),
    Kind(2, plain(*_awaited(WITNESS))),
    Kind(1, plain(*_awaited(SLEEPS), "await asyncio.sleep(PAUSE)")),
    Kind(0.5, plain(*KEEP)),
    Kind(0.5, plain(*_awaited(ASK)), group="waits"),
    Kind(1.5, plain(*_awaited(CLOCK)), group="clock"),
    Kind(0.5, late, group="deadlines"),
    Kind(0.5, plain(*CALLABLES), group="callables", beside=True),
    Kind(1, child(False), group="children"),
    Kind(2, batched("await "), group="batches", beside=True),
    Kind(1.5, plain(*_awaited(STATE)), group="state"),
    Kind(1.5, loop(False), nests=True),
    Kind(1, caught(False), nests=True, group="errors"),
    Kind(4, beside, nests=True, beside=True),
    Kind(4, race, nests=True, group="races", beside=True),
    Kind(1, failing, nests=True, group="errors", beside=True),
)
