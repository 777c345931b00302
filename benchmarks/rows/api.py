"""The local API: tools that use ``securechat --serve``, beside the same tools at the model's server itself."""

import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from benchmarks.calls import Model, first_word, model
from benchmarks.listeners import HttpListener, HttpsListener
from benchmarks.loads import TIMEOUT
from benchmarks.process import Server
from benchmarks.row import Contenders, Figures, Row
from benchmarks.rows.streams import ROBOT, let_rest, quantile
from benchmarks.servers import NGINX, local_api, model_server, nginx, securechat
from benchmarks.stamps import SIZE, belongs
from sidechannel.traces import timestamp

TOOLS: Final = 10  # at the same time
CALLS: Final = 200
PAUSE: Final = 0.03  # seconds at most between the first words of two replies, so that they meet every part of a tick
PROMPT: Final = 1 << 20  # characters
TOKENS: Final = 400  # of each reply
RATE: Final = 100  # tokens per second
QUIET: Final = 6.0  # seconds after which no train is running, so that a request need not wait for its moment
WITHOUT: Final = "the model's server"


@contextmanager
def door(model_port: int) -> Iterator[tuple[Server, Server]]:
    """The daemon in front of a model's server, and the client that serves its API."""
    options = ("--api", "-R", "models=*", "-R", f"url=http://127.0.0.1:{model_port}")
    with securechat(*ROBOT, *options) as daemon, local_api(daemon.port, "--serve-sessions", str(TOOLS)) as client:
        yield daemon, client


def calls(models: Model, connect: Callable[[], HttpListener], count: int) -> Figures:
    """Requests that are cancelled after the first word, as many at a time as there are `TOOLS`."""
    asking, first, closing = [], [], []
    for _round in range(max(1, count // TOOLS)):
        tools, sent = [connect() for _ in range(TOOLS)], []
        for number, tool in enumerate(tools):
            timestamp(tool.socket)
            sent.append(time.time())
            tool.ask(f"#{number}")
        requests = [models.next() for _ in tools]
        by_number = {number: one for one in requests for number in range(TOOLS) if b'"#%d"' % number in one.body}
        for request in requests:
            time.sleep(random.uniform(0, PAUSE))
            request.say()
        for number, tool in enumerate(tools):
            request = by_number[number]
            asking.append(request.moment - sent[number])
            first.append(first_word(tool) - request.written)
        for number, tool in enumerate(tools):
            before = time.time()
            tool.socket.close()
            closing.append(by_number[number].wait_for_close() - before)
            by_number[number].socket.close()
    return {
        "until the model is asked, median, ms": quantile(asking, 0.5) * 1e3,
        "added delay of the first word, median, ms": quantile(first, 0.5) * 1e3,
        "added delay of the first word, 99 %, ms": quantile(first, 0.99) * 1e3,
        "from cancelling to the end of the model's work, median, ms": quantile(closing, 0.5) * 1e3,
        "from cancelling to the end of the model's work, maximum, ms": max(closing) * 1e3,
    }


@contextmanager
def start_calls(scale: float) -> Iterator[Contenders]:
    count = int(CALLS * scale)
    with model() as models, door(models.port) as (_daemon, client):
        yield {
            "securechat": partial(calls, models, partial(HttpListener, client.port), count),
            WITHOUT: partial(calls, models, partial(HttpListener, models.port), count),
        }


def rested(measure: Callable[[], Figures]) -> Figures:
    """The figures of requests that are the first ones after a while."""
    time.sleep(QUIET)
    return measure()


def prompt(models: Model, port: int) -> Figures:
    """A long request."""
    tool = HttpListener(port)
    before = time.time()
    tool.ask("x" * PROMPT)
    request = models.next()
    if b"x" * PROMPT not in request.body:
        raise ConnectionError("the prompt has changed")
    request.say()
    request.end()
    first_word(tool)
    tool.socket.close()
    request.socket.close()
    return {"until the model has it, ms": (request.moment - before) * 1e3}


@contextmanager
def start_prompt(_scale: float) -> Iterator[Contenders]:
    with model() as models, door(models.port) as (_daemon, client):
        yield {
            "securechat": partial(rested, partial(prompt, models, client.port)),
            WITHOUT: partial(prompt, models, models.port),
        }


def streams(connect: Callable[[], HttpListener], tokens: int, servers: dict[str, Server]) -> Figures:
    """Whole replies to all tools at once. `servers` by the quantity that is their CPU time per token."""
    tools = [connect() for _ in range(TOOLS)]
    before = {name: server.cpu() for name, server in servers.items()}
    poll, texts = select.epoll(), [""] * TOOLS
    numbers = {tool.socket.fileno(): number for number, tool in enumerate(tools)}
    start = time.monotonic()
    begun = 0.0
    for number, tool in enumerate(tools):
        poll.register(tool.socket, select.EPOLLIN)
        tool.ask(str(number), max_tokens=tokens)
    while not all(tool.is_complete for tool in tools):
        ready = poll.poll(TIMEOUT)
        if not ready:
            raise TimeoutError("no more of the replies")
        for descriptor, _event in ready:
            number = numbers[descriptor]
            data = tools[number].socket.recv(65_536)
            if not data:
                raise ConnectionError("a response is incomplete")
            texts[number] += tools[number].open(data)
        if not begun and all(texts):
            begun = time.monotonic() - start
    ended = time.monotonic() - start
    figures = {"until all have begun, s": begun, "until all have ended, s": ended}
    for name, server in servers.items():
        figures[name] = (server.cpu() - before[name]) / TOOLS / tokens * 1e6
    poll.close()
    for number, tool in enumerate(tools):
        tool.socket.close()
        places = range(0, len(texts[number]), SIZE)
        if len(places) != tokens or not all(
            belongs(texts[number][place : place + SIZE], number, place // SIZE) for place in places
        ):
            raise ConnectionError(f"tokens of reply {number} are wrong")
    for server in servers.values():
        let_rest(server)
    return figures


@contextmanager
def start_streams(scale: float) -> Iterator[Contenders]:
    tokens = int(TOKENS * scale)
    spent = "CPU per token, µs"
    with ExitStack() as stack:
        port = stack.enter_context(model_server(RATE))
        daemon, client = stack.enter_context(door(port))
        both = {spent: daemon, "CPU per token of the client, µs": client}
        contenders: dict[str, Callable[[], Figures] | str] = {
            "securechat": partial(rested, partial(streams, partial(HttpListener, client.port), tokens, both)),
            WITHOUT: partial(streams, partial(HttpListener, port), tokens, {}),
        }
        if NGINX is None:
            contenders["nginx"] = "nginx is not installed"
        else:
            theirs = stack.enter_context(nginx(port))
            contenders["nginx"] = partial(streams, partial(HttpsListener, theirs.port), tokens, {spent: theirs})
        yield contenders


API: Final = (
    Row("api-calls", f"{CALLS} API requests, {TOOLS} at a time, each cancelled after its first word", start_calls),
    Row("api-prompt", "API request of 1 MiB", start_prompt),
    Row("api-streams", f"{TOOLS} API requests at once, {TOKENS} tokens each, {RATE} tokens/s", start_streams),
)
