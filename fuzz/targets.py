"""The fuzz targets. Each takes arbitrary bytes and lets only undeclared exceptions of its parser escape.

`TARGETS` has them by name; `seeds` returns a few valid inputs for each.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from msgspec.msgpack import Decoder

from securechat.client.destination import parse_destination
from securechat.errors import ConfigurationError, RemoteProtocolError, RobotError
from securechat.robots.eliza.robot import load_script
from securechat.robots.turing.messages import parse_answer
from securechat.ssh import keys
from securechat.ssh.authorized_keys import parse_line as parse_authorized
from securechat.ssh.keys import SigningKey
from securechat.ssh.known_hosts import parse_line as parse_known
from securechat.ssh.private_keys import load_private_key
from securechat.wire import messages
from securechat.wire.host_names import canonical_host
from securechat.wire.messages import Chunk, Goodbye, Reason, decode, encode
from securechat.wire.records import Opener, RecordType, Sealer
from securechat.wire.suites import SUITES
from tests.harness.pair import PQ, Pair
from tests.harness.streams import events, read

DECODERS: Final = [value for value in vars(messages).values() if isinstance(value, Decoder)]
ENGLISH, CHINESE = load_script("en", words=True), load_script("zh", words=False)
SECRET: Final = bytes(32)


class _Plain:
    """A record cipher without encryption, so that the fuzzer reaches the code behind it."""

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        return plaintext

    def open(self, seq: int, body: bytes) -> bytes:
        return body.ljust(512, b"\0")[:512]


def hello(data: bytes) -> None:
    """The first bytes that a server receives."""
    with suppress(RemoteProtocolError):
        list(Pair.server_alone().receive_data(data))


_WAITING = Pair(PQ)


def welcome(data: bytes) -> None:
    """The first bytes that a client receives."""
    client = _WAITING.same_client()
    with suppress(RemoteProtocolError):
        list(client.receive_data(data))


_OPEN = Pair(PQ).open()


def record(data: bytes) -> None:
    """The plaintext of a record, received by a server whose channel is open."""
    server = _OPEN.server
    state = server.state, server.next_say_id, server._message, server._sealer
    opener = Opener(PQ, SECRET)
    opener._cipher = _Plain()
    server._opener = opener
    with suppress(RemoteProtocolError):
        for event in server.receive_data((528).to_bytes(4, "big") + data[:512].ljust(528, b"\0")):
            repr(event)
    server.state, server.next_say_id, server._message, server._sealer = state
    server._buffer, server._offset = b"", 0


def message(data: bytes) -> None:
    """The message type selected by the first byte."""
    if data:
        with suppress(RemoteProtocolError):
            found: Any = decode(DECODERS[data[0] % len(DECODERS)], data[1:])
            assert encode(found) == data[1:]


def record_body(data: bytes) -> None:
    """A sealed record of either suite."""
    for suite in SUITES.values():
        with suppress(RemoteProtocolError):
            Opener(suite, SECRET).open(data)


def public_key(data: bytes) -> None:
    """The public key in a Hello of either suite."""
    for suite in SUITES.values():
        with suppress(RemoteProtocolError):
            suite.seal(data, SECRET, b"")


def _text(parse: Callable[[str], object], *expected: type[Exception]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with suppress(ValueError, *expected):
            parse(data.decode())

    return target


_KEY_FILE: Final = Path(mkdtemp()) / "key"
_KEY_FILE.touch(mode=0o600)


def private_key(data: bytes) -> None:
    """A file with a private key."""
    _KEY_FILE.write_bytes(data)
    with suppress(ConfigurationError):
        load_private_key(_KEY_FILE, lambda: b"secret")


def turing(data: bytes) -> None:
    """A response of the Turing robot's service."""
    with suppress(RobotError):
        parse_answer(data)


def _pieces(data: bytes) -> list[bytes]:
    """The data after the first byte, in pieces whose size that byte determines."""
    size = data[0] % 16 + 1 if data else 1
    return [data[start : start + size] for start in range(1, len(data), size)]


def sse(data: bytes) -> None:
    """Server-Sent Events, which must not depend on the pieces."""
    assert events(*_pieces(data)) == events(data[1:])


def completion(data: bytes) -> None:
    """A response of an OpenAI-compatible server, which must not depend on the pieces."""
    found = read(*_pieces(data))
    assert found == read(data[1:])
    found[0].encode()


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "hello": hello,
    "welcome": welcome,
    "record": record,
    "record_body": record_body,
    "message": message,
    "public_key": public_key,
    "private_key": private_key,
    "public_line": _text(keys.parse_public_line),
    "known_hosts": _text(lambda line: parse_known(1, line)),
    "authorized_keys": _text(lambda line: parse_authorized(line, messages.MAX_ABOUT)),
    "host": _text(canonical_host),
    "destination": _text(parse_destination),
    "turing": turing,
    "sse": sse,
    "completion": completion,
    "eliza": _text(lambda text: (ENGLISH.answer([text]), CHINESE.answer([text]))),
}


def seeds() -> dict[str, list[bytes]]:
    """A few valid inputs for each target."""
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":%b}]}\n\n'
    pair = Pair(PQ)
    first = pair.client.data_to_send()
    pair.to_server(first)
    answer = pair.server.data_to_send()
    key = SigningKey.generate()
    line = keys.public_line(key.blob, "alice").encode()
    say, goodbye = encode(Chunk(1, True, b"hi")), encode(Goodbye(Reason.LEAVING, 0))
    return {
        "hello": [first],
        "welcome": [answer],
        "record": [bytes([RecordType.SAY, 0, len(say)]) + say, bytes([RecordType.GOODBYE, 0, len(goodbye)]) + goodbye],
        "record_body": [Sealer(suite, SECRET).seal(RecordType.SAY, say, 0.0)[4:] for suite in SUITES.values()],
        "message": [bytes([number]) + say for number in range(len(DECODERS))],
        "public_key": [suite.generate_key().public_bytes for suite in SUITES.values()],
        "private_key": [key.private_bytes()],
        "public_line": [line],
        "known_hosts": [b"[localhost]:8080 " + line, b"@revoked *,!a " + line, b"|1|c2FsdA==|aGFzaA== " + line],
        "authorized_keys": [line],
        "host": [b"example.org", b"::1", "例子.中国".encode()],
        "destination": [b"localhost:8080", b"[::1]:1"],
        "turing": [b'{"intent":{"code":10004},"results":[{"groupType":1,"resultType":"text","values":{"text":"hi"}}]}'],
        "sse": [
            b"\0data: a\ndata: b\n\nevent: x\nid: 1\nretry: 2\n: c\ndata\n\n",
            b"\7\xef\xbb\xbfdata: a\r\rdata: [DONE]",
            b'\3error: {"code":500}\r\n\r\n',
        ],
        "completion": [
            b"\0" + chunk % (b"hi", b"null") + chunk % (b"", b'"stop"') + b"data: [DONE]\n\n",
            b"\5"
            + chunk % (b"<think>", b"null")
            + chunk % (b"</think>\\ud83d", b"null")
            + chunk % (b"\\ude00", b'"length"'),
            b'\1{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}',
            b'\2data: {"error":{"message":"m","code":"context_length_exceeded","type":"x"}}\n\n',
        ],
        "eliza": [b"my name is Ada", "我喜欢你".encode()],
    }
