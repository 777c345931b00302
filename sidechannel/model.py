"""``python -m sidechannel.model``: a fake language model server with two topics, each with its own style.

It prints its port. A question is the topic's name and a number. The words and pauses of the reply are drawn from the
topic's distributions, seeded with the number, so that they are reproducible.
"""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Topic:
    """The style of a topic: words, letters and pauses vary around these means."""

    words: int  # per reply
    letters: int  # per word
    pause: float  # seconds before a word

    def reply(self, number: int) -> list[tuple[float, str]]:
        """The words of one reply, each with the pause before it in seconds."""
        drawn = random.Random(f"{self}{number}")
        count = max(1, round(drawn.gauss(self.words, self.words / 8)))
        return [
            (
                drawn.uniform(0.5, 1.5) * self.pause,
                "x" * max(1, round(drawn.gauss(self.letters, self.letters / 4))) + " ",
            )
            for _ in range(count)
        ]


# One has short, fast words, the other long, slow ones. Both take less than the shortest train at TICK.
TOPICS: Final = {"weather": Topic(words=40, letters=4, pause=0.008), "illness": Topic(words=24, letters=9, pause=0.02)}
TICK: Final = 0.02  # seconds; a train of 50 takes one second


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one question after the other with a stream of events."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            question = json.loads(await reader.readexactly(int(size.split(b":")[1])))
            topic, number = question["messages"][-1]["content"].split(" ")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for pause, word in TOPICS[topic].reply(int(number)):
                await asyncio.sleep(pause)
                writer.write(_chunk({"delta": {"content": word}, "finish_reason": None}))
            writer.write(_chunk({"delta": {}, "finish_reason": "stop"}) + b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _chunk(choice: dict[str, object]) -> bytes:
    event = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
