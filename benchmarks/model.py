"""``python -m benchmarks.model RATE``: a model's server that writes RATE tokens a second into each reply.

It prints its port. The events are those of llama.cpp's server; the tokens come from `benchmarks.stamps`. A reply has
``max_tokens`` tokens; without that it never ends, and the client closes the connection. There is no framework, because
this process shares a core with the clients.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from benchmarks.stamps import stamp

READ_SIZE: Final = 64 * 1024  # bytes
BEHIND: Final = 64 * 1024  # bytes that are not sent, with which a stream waits for its reader
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENT: Final = (
    'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"%s"}}],"created":1764115200,'
    '"id":"chatcmpl-6yMWJ2CTHoVLbpGsqkZOXl8tGWnVbMqy","model":"model","system_fingerprint":"b7161-eec1e33a9",'
    '"object":"chat.completion.chunk"}\n\n'
)
FINISH: Final = EVENT.replace("null", '"stop"') % ""
CHUNK: Final = f"{len(EVENT % 'abcde'):x}\r\n{EVENT}\r\n"
END: Final = f"{len(FINISH):x}\r\n{FINISH}\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass
class Stream:
    """One connection and its reply. `conversation` is the number that was the question."""

    socket: socket.socket
    received: bytes = b""
    unsent: bytes = b""
    conversation: int = 0
    tokens: int = 0
    limit: int | None = None  # tokens of the reply
    due: float = 0.0
    closed: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be written."""
        return self.closed or (self.tokens == self.limit and not self.unsent)

    def read(self) -> bool:
        """Read; True if the request is now complete."""
        try:
            data = self.socket.recv(READ_SIZE)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            self.socket.close()
            return False
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return False
        size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < int(size.split(b":")[1]):
            return False
        request = json.loads(body)
        self.conversation = int(request["messages"][-1]["content"])
        self.tokens, self.limit = 0, request.get("max_tokens")
        self.unsent = HEAD
        self.received = b""
        return True

    def speak(self) -> None:
        """Write the next token, unless the reader is far behind; after the last one, the end."""
        if len(self.unsent) < BEHIND and self.tokens != self.limit:
            self.unsent += (CHUNK % stamp(self.conversation, self.tokens)).encode()
            self.tokens += 1
            if self.tokens == self.limit:
                self.unsent += END.encode()
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.closed = True  # and `read` is told so, too


def serve(listener: socket.socket, pause: float) -> None:
    """Never returns. `pause` is that between two tokens of a reply, in seconds."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    streams: dict[int, Stream] = {}
    speaking: deque[Stream] = deque()  # as all have the same pause, the next to speak comes first
    while True:
        wait = speaking[0].due - time.monotonic() if speaking else -1
        for descriptor, _event in poll.poll(max(0.0, wait) if speaking else None):
            if descriptor == listener.fileno():
                accepted, _address = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(accepted, select.EPOLLIN)
                streams[accepted.fileno()] = Stream(accepted)
            elif streams[descriptor].read():
                stream = streams[descriptor]
                stream.due = time.monotonic() + pause
                stream.speak()
                speaking.append(stream)
            elif streams[descriptor].closed:
                del streams[descriptor]
        now = time.monotonic()
        while speaking and speaking[0].due <= now:
            stream = speaking.popleft()
            if not stream.has_ended:
                stream.speak()
                stream.due += pause
                speaking.append(stream)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, 1 / float(sys.argv[1]))


if __name__ == "__main__":
    main()
