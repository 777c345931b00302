"""Streamed replies from a model's server, through securechat and through nginx."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, NamedTuple

from benchmarks.listeners import Audience, HttpsListener, Listener, Measured, SecureListener
from benchmarks.process import Server
from benchmarks.row import Contenders, Figures, Row
from benchmarks.servers import NGINX, model_server, nginx, securechat
from securechat.server.settings import ServerSettings
from sidechannel.traces import RECORD


class Load(NamedTuple):
    """Conversations that are streamed at the same time."""

    conversations: int
    rate: int  # tokens per second of each
    spread: int = 1  # seconds in which all of them begin


LOADS: Final = (Load(50, 20), Load(300, 20), Load(1000, 20), Load(300, 100), Load(1000, 20, 10))
SETTLE: Final = 1.5  # seconds before the measurement
WINDOW: Final = 5.0  # seconds
MEASURED: Final = 50  # conversations that are opened; the others are only counted
REST: Final = 0.2  # seconds in which a server that is at rest needs less than a tenth of the core
LONGEST_REST: Final = 10.0  # seconds
ROBOT: Final = ("--robot", "openai", "-R", "model=model", "-R", "max-concurrent=10000")


def let_rest(server: Server) -> None:
    """Wait until a server has ended the sessions of clients that have left: the next contender needs its core."""
    end = time.monotonic() + LONGEST_REST
    spent = REST
    while spent > REST / 10 and time.monotonic() < end:
        before = server.cpu()
        time.sleep(REST)
        spent = server.cpu() - before


def quantile(figures: Sequence[float], part: float) -> float:
    """The value that `part` of the figures do not exceed."""
    return sorted(figures)[max(0, math.ceil(part * len(figures)) - 1)]


def lateness(arrivals: Sequence[tuple[float, int]], tick: float) -> list[float]:
    """How much later than the most punctual of its train each record arrived, in seconds, as seen from outside.

    An arrival is a moment and the number of records of the train until then.
    """
    starts = [moment - records * tick for moment, records in arrivals]
    return [start - min(starts) for start in starts]


def stream(
    server: Server, connect: Callable[[int], Listener], load: Load, window: float
) -> tuple[Figures, Sequence[Measured]]:
    """The figures of all kinds of servers, and the conversations that were measured."""
    conversations, rate, spread = load
    audience = Audience([connect(server.port) for _ in range(conversations)], math.ceil(conversations / MEASURED))
    try:
        audience.ask(spread)
        audience.listen(SETTLE)
        audience.begin_window()
        start, before = time.monotonic(), server.cpu()
        received = audience.listen(window)
        seconds, cpu = time.monotonic() - start, server.cpu() - before
        memory = server.memory()
    finally:
        audience.close()
        let_rest(server)
    measured = list(audience.measured.values())
    ages = [age for one in measured for age in one.ages]
    if not ages:
        raise TimeoutError(f"no token within {window:g} s")
    tokens = len(ages) / len(measured) * conversations
    figures = {
        "CPU per token, µs": cpu / tokens * 1e6,
        "added delay, median, ms": quantile(ages, 0.5) * 1e3,
        "added delay, 99 %, ms": quantile(ages, 0.99) * 1e3,
        "on the wire, kB/s": received / seconds / 1e3,
        "memory, PSS, MiB": memory / 1024,
        "one core, %": cpu / seconds * 100,
        "tokens delivered in time, %": tokens / (conversations * rate * seconds) * 100,
    }
    return figures, measured


def records(measured: Measured) -> list[tuple[float, int]]:
    """The pieces of a conversation in records instead of bytes."""
    return [(moment, received // RECORD) for moment, received in measured.arrivals]


def through_securechat(server: Server, load: Load, window: float) -> Figures:
    figures, measured = stream(server, SecureListener, load, window)
    tick = ServerSettings().tick
    late = [(lateness(records(one), tick), one.early) for one in measured]
    at_first = [each for all_late, early in late for each in all_late[:early]]
    later = [each for all_late, early in late for each in all_late[early:]]
    return {
        **figures,
        "lateness of a tick, 99 %, ms": quantile(later, 0.99) * 1e3,
        "lateness while all begin, 99 %, ms": quantile(at_first, 0.99) * 1e3,
    }


def through_nginx(server: Server, load: Load, window: float) -> Figures:
    return stream(server, HttpsListener, load, window)[0]


@contextmanager
def start(load: Load, scale: float) -> Iterator[Contenders]:
    window = WINDOW * scale
    with ExitStack() as stack:
        model = stack.enter_context(model_server(load.rate))
        ours = stack.enter_context(securechat(*ROBOT, "-R", f"url=http://127.0.0.1:{model}"))
        contenders: dict[str, Callable[[], Figures] | str] = {
            "securechat": partial(through_securechat, ours, load, window)
        }
        if NGINX is None:
            contenders["nginx"] = "nginx is not installed"
        else:
            theirs = stack.enter_context(nginx(model))
            contenders["nginx"] = partial(through_nginx, theirs, load, window)
        yield contenders


def row(load: Load) -> Row:
    conversations, rate, spread = load
    title = f"{conversations:,} streamed replies, {rate} tokens/s"
    if spread == 1:
        return Row(f"stream-{conversations}-{rate}", title, partial(start, load))
    return Row(f"stream-{conversations}-{rate}-in-{spread}", f"{title}, begun within {spread} s", partial(start, load))


STREAMS: Final = tuple(map(row, LOADS))
