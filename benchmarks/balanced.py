"""``make balanced``: two daemons behind HAProxy, one of which stops or is killed while it has users.

- drain: SIGTERM to a daemon whose users have replies in progress.
- kill: kill -9 to such a daemon.
- idle: kill -9 to a daemon with idle sessions only, all of which reconnect to the other one.

HAProxy has the configuration in deploy/, the daemons have their default limits, and each user has an address of the
loopback network and dials as the client at a terminal does. The exit status is 1 if a reply was lost that could have
been kept, or if a user was refused, did not go on with the conversation, or was not back in time.
"""

import argparse
import re
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

from benchmarks.process import cpu_time, memory, raise_file_limit
from benchmarks.rows.streams import quantile
from securechat.errors import Category, RemoteProtocolError, SecureChatError
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness import openai_peer
from tests.harness.daemon import reactor
from tests.harness.haproxy import HAPROXY, BalancedDaemon, HAProxy, ReturningUser
from tests.harness.openai_peer import OpenAIPeer, good, says, stream
from tests.harness.serving_client import free_port

USERS: Final = 200
SESSIONS: Final = 5000
TOKENS: Final = 60  # of a reply
PAUSE: Final = 0.1  # seconds between two of them
AT_ONCE: Final = 60  # users that arrive at the same time
DIALLING: Final = 400  # users that reconnect at the same time: they share a core of this machine
BACK: Final = 5.0  # seconds after which all users of a daemon that was stopped or killed have to be back
IDLE_BACK: Final = 10.0  # … with idle sessions: both ends of 5,000 handshakes take five seconds of CPU time here
LONGEST: Final = 120.0  # seconds for a row
DISTANCE: Final = 0.1  # seconds of a round trip to a user with an idle session
NEWCOMERS: Final = 0.1  # seconds from one new user to the next
SETTLE: Final = 3.0  # seconds until HAProxy has noticed a new daemon
WORDS: Final = [f"{number} " for number in range(TOKENS)]
REPLY: Final = "".join(WORDS) + "end"
SLOW: Final = [step for word in WORDS for step in (*says(word), PAUSE)]

Figures = dict[str, float]


class Failed(Exception):  # noqa: N818 - what a row has found
    """A requirement is not met."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Failed(text)


class Service:
    """Two daemons with one host key, behind HAProxy; the second one can be started later."""

    def __init__(self, directory: Path, model_port: int) -> None:
        self._directory = directory
        self._options = (
            *("--robot", "openai", "-R", f"url=http://127.0.0.1:{model_port}", "-R", "model=model"),
            *("-R", "max-concurrent=1000", "--tick", "0.1", "--max-sessions", str(2 * SESSIONS)),
        )
        self._ports = [(free_port(), free_port()) for _daemon in range(2)]
        self.daemons: list[BalancedDaemon] = []
        self.haproxy = HAProxy(directory / "haproxy", self._ports)

    async def start_daemon(self) -> BalancedDaemon:
        number = len(self.daemons)
        key = ("--host-key", str(self.daemons[0].state / "ssh_host_ed25519_key")) if self.daemons else ()
        port, metrics = self._ports[number]
        directory = str(self._directory / f"daemon{number}")
        daemon = BalancedDaemon(directory, *self._options, *key, port=port, metrics=metrics)
        self.daemons.append(daemon)
        await daemon.started()
        return daemon

    async def stop(self) -> None:
        self.haproxy.stop()
        for daemon in self.daemons:
            daemon.process.kill()
            daemon.process.wait()


async def metric(daemon: BalancedDaemon, name: str) -> float:
    """The sum of a metric's samples."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics}/metrics") as response:
            return str(response.read().decode())

    await deferLater(reactor, 0.6)  # the daemon serves the same page for half a second
    return sum(map(float, re.findall(rf"(?m)^{name}(?:{{.*}})? (\S+)$", await deferToThread(read))))


@asynccontextmanager
async def started(daemons: int) -> AsyncIterator[Service]:
    """A service with so many daemons, and a language model in this process."""
    openai_peer.SCRIPTS["slow"] = lambda: stream(*SLOW, *good("end"))
    listening = reactor.listenTCP(0, OpenAIPeer(reactor), interface="127.0.0.1", backlog=1024)
    with tempfile.TemporaryDirectory() as name:
        service = Service(Path(name), listening.getHost().port)
        try:
            for _daemon in range(daemons):
                await service.start_daemon()
            await deferToThread(service.haproxy.wait)
            await deferLater(reactor, SETTLE)
            yield service
        finally:
            await service.stop()
            await listening.stopListening()


def new_users(port: int, number: int, *, network: int = 1, distance: float = 0.0) -> list[ReturningUser]:
    """Users at addresses of 127.NETWORK.0.0/16."""
    addresses = [f"127.{network}.{index // 250}.{index % 250 + 1}" for index in range(number)]
    at_once = DeferredSemaphore(DIALLING)
    return [ReturningUser(port, address, distance=distance, at_once=at_once) for address in addresses]


async def arrive(users: Sequence[ReturningUser]) -> None:
    """Let all connect, a few at a time."""
    places = DeferredSemaphore(AT_ONCE)
    await gatherResults([places.run(user.arrive) for user in users])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await deferLater(reactor, 0.02)


def back_figures(users: Sequence[ReturningUser]) -> Figures:
    away = [user.away for user in users]
    return {
        "until a user is back, median, s": quantile(away, 0.5),
        "until a user is back, 99 %, s": quantile(away, 0.99),
        "until all are back, s": max(away),
        "attempts of a user, maximum": max(user.attempts for user in users) - 1,
    }


def is_cut(loss: object) -> bool:
    return isinstance(loss, RemoteProtocolError) and loss.category is Category.CUT


async def replace(name: str, number: int, how: signal.Signals) -> None:
    """Stop one of two daemons while all users have replies in progress."""
    async with started(2) as service:
        users = new_users(service.haproxy.port, number)
        await arrive(users)
        await gatherResults([Deferred.fromCoroutine(user.exchange("hello")) for user in users])
        replies = {user: Deferred.fromCoroutine(user.exchange("slow")) for user in users}
        staying = {user: Deferred.fromCoroutine(user.stay()) for user in users}
        await until(lambda: all(2 in user.texts for user in users))
        first = service.daemons[0]
        there = int(await metric(first, "securechat_sessions"))
        stopped = time.monotonic()
        first.process.send_signal(how)
        await until(lambda: sum(bool(user.losses) for user in users) >= there)
        moved = [user for user in users if user.losses]
        await gatherResults([staying[user] for user in moved])
        seconds = time.monotonic() - stopped
        whole = [user for user in users if how is signal.SIGTERM or user not in moved]
        texts = await gatherResults([replies[user] for user in whole])
        require(texts == [REPLY] * len(whole), "replies were lost")
        require(len(moved) == there, f"{len(moved)} users have lost their session, and {there} were there")
        for user in moved:
            drained = user.losses == [GoodbyeReceived(Reason.STOPPING, 2)]
            require(drained if how is signal.SIGTERM else is_cut(user.losses[0]), f"a session ended: {user.losses}")
        await gatherResults([Deferred.fromCoroutine(user.exchange("how are you?")) for user in users])
        for user in users:
            turns = 6 if user in whole else 4
            require(len(user.turns) == turns, f"a conversation has {len(user.turns)} turns, expected {turns}")
        if how is signal.SIGTERM:
            require(await deferToThread(first.process.wait, LONGEST) == 0, "the daemon did not end with status 0")
        figures = {"users on the daemon": there, **back_figures(moved), "from the signal to the last, s": seconds}
        await gatherResults([Deferred.fromCoroutine(user.leave()) for user in users])
    show(name, figures)
    require(figures["until all are back, s"] <= BACK, "a user was not back in time")


class Newcomers:
    """New users, who connect one after the other and leave at once."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []  # until each was admitted
        self.refused: list[str] = []
        self._users = iter(new_users(port, 2000, network=2))
        self._coming: list[Deferred[None]] = []
        self._call = LoopingCall(self._come)

    def start(self) -> None:
        self._call.start(NEWCOMERS)

    async def stop(self) -> None:
        self._call.stop()
        await gatherResults(self._coming)

    def _come(self) -> None:
        self._coming.append(Deferred.fromCoroutine(self._one()))

    async def _one(self) -> None:
        user, begun = next(self._users), time.monotonic()
        try:
            await user.arrive()
        except (SecureChatError, OSError) as error:
            self.refused.append(str(error))
            return
        self.seconds.append(time.monotonic() - begun)
        await user.leave()


async def idle(number: int) -> None:
    """Kill a daemon with idle sessions; the other has been empty until then."""
    async with started(1) as service:
        haproxy = service.haproxy.process.pid
        empty = memory(haproxy)
        users = new_users(service.haproxy.port, number, distance=DISTANCE)
        begun = time.monotonic()
        await arrive(users)
        arrival = time.monotonic() - begun
        growth = memory(haproxy) - empty
        staying = [Deferred.fromCoroutine(user.stay()) for user in users]
        for user in users:
            user.prepare()
        second = await service.start_daemon()
        await deferLater(reactor, SETTLE)
        newcomers = Newcomers(service.haproxy.port)
        newcomers.start()
        before = cpu_time(second.process.pid), cpu_time(haproxy), time.process_time()
        service.daemons[0].process.kill()
        await gatherResults(staying)
        after = cpu_time(second.process.pid), cpu_time(haproxy), time.process_time()
        spent = [end - start for start, end in zip(before, after, strict=True)]
        await newcomers.stop()
        refused = await metric(second, "securechat_connections_refused_total")
        aborted = await metric(second, "securechat_aborts_total")
        figures = {
            "sessions": await metric(second, "securechat_sessions"),
            "until all had arrived at first, s": arrival,
            **back_figures(users),
            "attempts of all": sum(user.attempts - 1 for user in users),
            "refused by the daemon": refused,
            "aborted by the daemon": aborted,
            "newcomers": len(newcomers.seconds) + len(newcomers.refused),
            "newcomers who were refused": len(newcomers.refused),
            "until a newcomer is admitted, maximum, s": max(newcomers.seconds),
            "CPU of the daemon, s": spent[0],
            "CPU of HAProxy, s": spent[1],
            "CPU of the users, s": spent[2],
            "memory of the daemon, PSS, MiB": memory(second.process.pid) / 1024,
            "memory of HAProxy per session, PSS, KiB": growth / number,
        }
    show("idle", figures)
    require(refused == aborted == len(newcomers.refused) == 0, f"users were refused: {newcomers.refused[:3]}")
    require(figures["sessions"] == number, "sessions are missing")
    require(figures["until all are back, s"] <= IDLE_BACK, "a user was not back in time")


def show(name: str, figures: Figures) -> None:
    """Print a row as lines of a table."""
    for quantity, value in figures.items():
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}"
        print(f"| {name} | {quantity} | {text} |", flush=True)


ROWS: Final = ("drain", "kill", "idle")


async def measure(options: argparse.Namespace) -> bool:
    """Whether all requirements are met."""
    rows: dict[str, Callable[[], Coroutine[Deferred[Any], Any, None]]] = {
        "drain": lambda: replace("drain", options.users, signal.SIGTERM),
        "kill": lambda: replace("kill", options.users, signal.SIGKILL),
        "idle": lambda: idle(options.sessions),
    }
    passed = True
    print("| row | quantity | figure |\n|---|---|---:|")
    for name in options.rows or ROWS:
        try:
            await Deferred.fromCoroutine(rows[name]()).addTimeout(LONGEST, reactor)
        except Failed as failure:
            print(f"{name}: {failure}", file=sys.stderr)
            passed = False
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balanced", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", choices=[[], *ROWS], metavar="ROW", help="drain, kill or idle (default: all)"
    )
    parser.add_argument("--users", type=int, default=USERS, help=f"with replies in progress (default: {USERS})")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"that are idle (default: {SESSIONS})")
    options = parser.parse_args()
    if HAPROXY is None:
        parser.error("haproxy is not installed")
    raise_file_limit()

    async def run(_reactor: Any) -> None:
        if not await measure(options):
            raise SystemExit(1)

    react(lambda used: Deferred.fromCoroutine(run(used)))


if __name__ == "__main__":
    main()
