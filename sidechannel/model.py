"""``python -m sidechannel.model TICK``: a fake language model server whose replies are of several kinds.

It prints its port. A question is the name of a kind and a number, from which the words and pauses of the reply are
drawn, so that they are reproducible. The length of a pause is a multiple of TICK, which is in seconds. A request
without ``stream`` gets the whole reply at its end.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

# The words of a reply, each with the pause before it in ticks. An empty word is only a pause.
Script = list[tuple[float, str]]

STREAM: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"  # the last two chunks
END: Final = 36.0  # ticks that the longest kinds of reply take, so that they fit into a bucket of 50


def topic(drawn: random.Random, words: int, letters: int, pause: float) -> Script:
    """A reply in some style: the number of words, that of letters per word, and the pauses vary around these means."""
    return [
        (drawn.uniform(0.5, 1.5) * pause, "x" * max(1, round(drawn.gauss(letters, letters / 4))) + " ")
        for _ in range(max(1, round(drawn.gauss(words, words / 8))))
    ]


def stream(drawn: random.Random, ticks: float) -> Script:
    """About one word per tick for this number of ticks, and nothing more until END."""
    script: Script = []
    passed = 0.0
    while passed < ticks - 1.5:
        script.append((drawn.uniform(0.5, 1.5), "word "))
        passed += script[-1][0]
    return [*script, (END - passed, "")]


KINDS: Final[dict[str, Callable[[random.Random], Script]]] = {
    # Many short, fast words against fewer, longer and slower ones.
    "weather": lambda drawn: topic(drawn, words=40, letters=4, pause=0.4),
    "illness": lambda drawn: topic(drawn, words=24, letters=9, pause=1.0),
    # The same time, differently filled.
    "whole": lambda _drawn: [(1.0, "word " * int(END)), (END - 1, "")],
    "pieces": lambda drawn: stream(drawn, END),
    "half": lambda drawn: stream(drawn, END / 2),
    # Five of them still fit into one bucket.
    "short": lambda _drawn: [(1.0, "word ")],
    "long": lambda _drawn: [(1.0, "word "), (6.0, "word ")],
}


def reply(question: str) -> Script:
    """The reply to a question; LookupError if its kind is unknown."""
    return KINDS[question.split()[0]](random.Random(question))


async def answer(tick: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one question after the other."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            question = json.loads(await reader.readexactly(int(size.split(b":")[1])))
            script = reply(question["messages"][-1]["content"])
            if question.get("stream"):
                writer.write(STREAM)
                async for word in _spoken(script, tick):
                    writer.write(_chunk({"delta": {"content": word}, "finish_reason": None}))
                writer.write(_chunk({"delta": {}, "finish_reason": "stop"}) + DONE)
            else:
                text = "".join([word async for word in _spoken(script, tick)])
                writer.write(_whole({"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _spoken(script: Script, tick: float) -> AsyncIterator[str]:
    """The words, each in its time."""
    due = time.monotonic()
    for pause, word in script:
        due += pause * tick
        await asyncio.sleep(due - time.monotonic())  # the end must not be later after many words
        if word:
            yield word


def _whole(choice: dict[str, object]) -> bytes:
    body = json.dumps({"choices": [choice]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _chunk(choice: dict[str, object]) -> bytes:
    event = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


async def main(tick: float) -> None:
    server = await asyncio.start_server(lambda reader, writer: answer(tick, reader, writer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
