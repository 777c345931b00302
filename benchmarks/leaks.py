"""``make leaks``: whether 10,000 API requests leave memory, descriptors or sessions behind.

A daemon and ``securechat --serve`` pass on requests of all kinds, sixteen at a time: whole and streamed ones, errors,
refused ones, and tools that disconnect in between. This is done twice, and both processes are compared after the first
and the second time: at first they grow, because Python collects garbage rarely. The exit status is 1 if one of them has
grown by 5 % or has more descriptors, or if a response was wrong.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from benchmarks.process import Server
from benchmarks.rows.streams import ROBOT
from benchmarks.servers import API_KEY, local_api, securechat

CALLS: Final = 10_000
AT_ONCE: Final = 16
GROWTH: Final = 0.05  # of memory, from which it counts as a leak
SETTLE: Final = 12.0  # seconds in which connections and trains end, and garbage is collected
LIMIT: Final = 60.0  # seconds for a request
LONG: Final = "x" * 20_000  # in all requests, so that one that is kept shows
EVENTS: Final = 20  # of a stream

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_STREAM: Final = _OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


def _event(delta: dict[str, object], finish: str | None = None) -> bytes:
    return _chunk(f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n")


class Model:
    """The model's server. The last message of a request says what it gets."""

    def __init__(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
                )
                body = await reader.readexactly(int(length.split(b":")[1]))
                await self._answer(writer, json.loads(body)["messages"][-1]["content"] if body else "")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, content: str) -> None:
        match content.partition(" ")[0]:
            case "":
                self._write(writer, _OK, {"object": "list", "data": [{"id": "model", "object": "model"}]})
            case "whole":
                message = {"role": "assistant", "content": LONG}
                self._write(writer, _OK, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
            case "error":
                self._write(writer, b"HTTP/1.1 429 x\r\nRetry-After: 1\r\n", {"error": {"message": "slow down"}})
            case kind:
                writer.write(_STREAM)
                for _number in range(EVENTS):
                    writer.write(_event({"content": "word "}))
                    await writer.drain()
                    await asyncio.sleep(0.005)
                if kind == "cut":
                    raise ConnectionAbortedError
                writer.write(_event({}, "stop") + _chunk("data: [DONE]\n\n") + b"0\r\n\r\n")

    @staticmethod
    def _write(writer: asyncio.StreamWriter, head: bytes, value: object) -> None:
        body = json.dumps(value).encode()
        writer.write(head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def close_idle(self) -> None:
        """Close the connections that the daemon keeps for further requests."""
        for writer in self._writers:
            writer.close()


def _request(content: str, *, path: str = "/v1/chat/completions", stream: bool = True, key: str = API_KEY) -> bytes:
    messages = [{"role": "user", "content": f"{content} {LONG}"}]
    body = json.dumps({"model": "model", "stream": stream, "messages": messages}).encode()
    return _head("POST", path, key, f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n") + body


def _head(method: str, path: str, key: str = API_KEY, headers: str = "") -> bytes:
    common = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\n{common}{headers}\r\n".encode()


class Tools:
    """Sends requests to the local API and checks the responses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.wrong: list[str] = []
        self.kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._ask(_request("stream"), 200, b"data: [DONE]\n\n\r\n0\r\n\r\n"),
            lambda: self._ask(_request("whole", stream=False), 200, b"\r\n0\r\n\r\n"),
            lambda: self._leave(_request("stream"), b"content"),
            lambda: self._ask(_request("error"), 429, b"\r\n0\r\n\r\n"),
            lambda: self._ask(_request("stream", path="/api/chat"), 200, b"}\n\r\n0\r\n\r\n"),
            lambda: self._ask(_head("GET", "/v1/models"), 200, b""),
            lambda: self._ask(_request("cut"), 200, b"\r\n0\r\n\r\n"),
            lambda: self._ask(_request("stream", key="wrong"), 401, b"}"),
            lambda: self._ask(_request("whole", path="/api/chat", stream=False), 200, b"\r\n0\r\n\r\n"),
            lambda: self._leave(_request("stream")[:-5], b""),
        )

    async def send(self, count: int) -> None:
        """Send so many requests, of each kind equally many."""
        left = iter(range(count))

        async def some() -> None:
            for number in left:
                async with asyncio.timeout(LIMIT):
                    await self.kinds[number % len(self.kinds)]()

        await asyncio.gather(*(some() for _tool in range(AT_ONCE)))

    async def _ask(self, data: bytes, status: int, end: bytes) -> None:
        """Send a request, and read its response to the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(data)
        response = await reader.read(-1)
        writer.close()
        if not response.startswith(b"HTTP/1.1 %d " % status) or not response.endswith(end):
            self.wrong.append(f"{data[:60]!r}: {response[:200]!r} … {response[-100:]!r}")

    async def _leave(self, data: bytes, words: bytes) -> None:
        """Send a request, and disconnect when these words of the response have come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(data)
        if words:
            await reader.readuntil(words)
        await writer.drain()
        writer.close()


@dataclass(frozen=True)
class State:
    """A process that has nothing to do. Its sessions are among the sockets."""

    memory: int  # KiB
    descriptors: int
    sockets: int

    @classmethod
    def of(cls, server: Server) -> "State":
        targets = []
        for name in os.listdir(folder := f"/proc/{server.pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                targets.append(os.readlink(f"{folder}/{name}"))
        return cls(server.memory(), len(targets), sum(target.startswith("socket:") for target in targets))

    def has_leaked(self, before: "State") -> bool:
        """Whether too much has been added."""
        return self.growth(before) >= GROWTH or self.descriptors > before.descriptors or self.sockets > before.sockets

    def growth(self, before: "State") -> float:
        """Of memory, as a part of it."""
        return self.memory / before.memory - 1


async def measure(calls: int) -> bool:
    """Whether everything is as it was before."""
    model = Model()
    listening = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    with (
        securechat(*ROBOT, "--api", "-R", "models=*", "-R", f"url=http://127.0.0.1:{port}", tick="0.01") as daemon,
        local_api(daemon.port, "--serve-sessions", str(AT_ONCE)) as client,
    ):
        tools = Tools(client.port)
        states: list[dict[str, State]] = []
        start = time.monotonic()
        for _time in range(2):
            await tools.send(calls)
            model.close_idle()
            await asyncio.sleep(SETTLE)
            states.append({"daemon": State.of(daemon), "client": State.of(client)})
        seconds = time.monotonic() - start
    listening.close()
    return report(calls, seconds, tools.wrong, states)


def report(calls: int, seconds: float, wrong: list[str], states: list[dict[str, State]]) -> bool:
    """Print what was found; whether nothing is wrong."""
    before, after = states
    print("| process | memory, MiB | growth | descriptors | sockets |\n|---|---:|---:|---:|---:|")
    for name, state in after.items():
        old = before[name]
        memory = f"{old.memory / 1024:.1f} → {state.memory / 1024:.1f} | {state.growth(old):+.1%}"
        print(f"| {name} | {memory} | {old.descriptors} → {state.descriptors} | {old.sockets} → {state.sockets} |")
    print(f"twice {calls:,} requests, {seconds:.0f} s, {len(wrong)} wrong responses")
    for text in wrong[:10]:
        print(text, file=sys.stderr)
    return not wrong and not any(state.has_leaked(before[name]) for name, state in after.items())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="requests that are compared (default: 10000)")
    passed = asyncio.run(measure(parser.parse_args().calls))
    print("passed" if passed else "failed")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
