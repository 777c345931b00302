"""The fuzz targets. Each takes arbitrary bytes and lets only undeclared exceptions of its parser escape.

`TARGETS` has them by name; `seeds` returns a few valid inputs for each.
"""

import json
import unicodedata
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from msgspec.msgpack import Decoder
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fuzz.api_targets import API_TARGETS, api_seeds
from securechat.calls.bodies import Body, InvalidBodyError
from securechat.calls.joining import MAX_DEPTH, Template
from securechat.calls.paths import Route
from securechat.calls.requests import Access, ApiCall, Request, examine
from securechat.calls.writer import ResultWriter
from securechat.client.config import read as read_config
from securechat.client.destination import parse_destination
from securechat.client.sanitize import Sanitizer, sanitize
from securechat.client.settings import ClientSettings
from securechat.client.terminal import conversations as saved
from securechat.client.terminal.code import LANGUAGES, CodeStyler
from securechat.client.terminal.commands import UnknownCommandError
from securechat.client.terminal.commands import parse as parse_command
from securechat.client.terminal.history import InputHistory
from securechat.client.terminal.markdown import Styler
from securechat.client.terminal.styles import Row, plain, render
from securechat.config_file import ConfigFile, Table
from securechat.conversation import Speaker, Turn
from securechat.errors import ConfigurationError, Fault, RemoteProtocolError, RobotError
from securechat.robots.echo import EchoRobot
from securechat.robots.eliza.robot import load_script
from securechat.robots.openai.policy import Policy, PolicyError
from securechat.robots.openai.raw_events import RawEvents
from securechat.robots.openai.settings import OpenAISettings
from securechat.robots.openai.usage import UsageReader
from securechat.robots.registry import robots_in
from securechat.robots.turing.messages import parse_answer
from securechat.server.admission import Holder
from securechat.server.control import MAX_REQUEST, ControlFactory
from securechat.server.control_commands import Controls
from securechat.server.factory import ChatServerFactory
from securechat.server.ledger.interface import Entry
from securechat.server.limits import limits_in
from securechat.server.message_memory import MessageMemory
from securechat.server.proxy_header import InvalidHeaderError, read_header
from securechat.server.quotas import Counts
from securechat.server.settings import ServerSettings
from securechat.server.users import Anyone
from securechat.ssh import keys
from securechat.ssh.authorized_keys import parse_line as parse_authorized
from securechat.ssh.certificates import CERTIFICATE_TYPE, Certificate, parse_certificate_line, split
from securechat.ssh.encoding import string
from securechat.ssh.key_options import parse_options, split_options
from securechat.ssh.keys import SigningKey
from securechat.ssh.known_hosts import parse_line as parse_known
from securechat.ssh.private_keys import load_private_key
from securechat.ssh.revoked_keys import parse_line as parse_revoked
from securechat.wire import messages
from securechat.wire.certificates import credential_of, read_credential
from securechat.wire.connection import Connection, State
from securechat.wire.events import Admitted, CallReceived, MessageReceived, RecallReceived, ReplyReceived
from securechat.wire.host_keys import HostKeys, announce, check_successor, hint_of
from securechat.wire.host_names import canonical_host
from securechat.wire.items import Delta, Head, ItemReader, Piece, ServerEvent
from securechat.wire.messages import About, Cancel, Chunk, FaultReport, Goodbye, Reason, RecallChunk, decode, encode
from securechat.wire.records import Opener, RecordType, Sealer
from securechat.wire.shaping import SHAPINGS
from securechat.wire.suites import SUITES
from tests.harness.certificates import CA, issue, raw, source_address
from tests.harness.pair import ABOUT, PQ, Pair, identity
from tests.harness.streams import events, read
from tests.independent.abort import AbortError
from tests.independent.certificates import Certificate as TheirCertificate
from tests.independent.certificates import check as check_certificate
from tests.independent.certificates import extensions_of, read_certificate
from tests.independent.items import ResultReader, join
from tests.independent.sshsig import acceptable

DECODERS: Final = [value for value in vars(messages).values() if isinstance(value, Decoder)]
ENGLISH, CHINESE = load_script("en", words=True), load_script("zh", words=False)
SECRET: Final = bytes(32)
PRESENT: Final = SigningKey.generate()
POLICY: Final = Policy(OpenAISettings(max_tokens=9, system="be brief", system_for_api=True))


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


def _open_client() -> Pair:
    """A client that waits for ABOUT."""
    pair = Pair(PQ)
    pair.to_server(pair.client.data_to_send())
    pair.to_client(pair.server.data_to_send())
    return pair


def _plain(connection: Connection) -> None:
    """Let a connection receive records that are not encrypted."""
    connection._opener = Opener(PQ, SECRET)
    connection._opener._cipher = _Plain()


def _frame(plaintext: bytes) -> bytes:
    return (528).to_bytes(4, "big") + plaintext[:512].ljust(528, b"\0")


_NEW_CLIENT = _open_client().client
_ANSWERS: Final = [RecordType.REPLY, RecordType.RESULT] * 2 + [RecordType.REPLY]


def about(data: bytes) -> None:
    """The plaintext of the record in which a client expects ABOUT."""
    client = copy(_NEW_CLIENT)
    _plain(client)
    with suppress(RemoteProtocolError):
        for event in client.receive_data(_frame(data)):
            assert isinstance(event, Admitted)
            assert about_of(event) == data[3 : 3 + int.from_bytes(data[1:3], "big")]


def about_of(event: Admitted) -> bytes:
    """The payload of the ABOUT that caused the event."""
    shape = (SHAPINGS.index(event.shaping), event.tick, event.width)
    software = event.software + (f" next-host-key={event.next_host_key}" if event.next_host_key else "")
    return encode(About(event.user, event.robot, software, event.max_message, event.api, *shape))


def _pieces_of(data: bytes) -> Iterator[bytes]:
    """The plaintexts of records, each of which has its length before it and lacks its padding."""
    while data:
        end = 2 + int.from_bytes(data[:2], "big") % 513
        yield data[2:end]
        data = data[end:]


def records(data: bytes) -> None:
    """The plaintexts of records, received by a server whose channel is open; it has to give back all memory."""
    quota = MessageMemory(8 * 1000).quota(Holder("fuzz"))
    server = Pair.server_alone()
    server.state = State.OPEN
    server._sealer = Sealer(PQ, SECRET)
    server.admit(replace(ABOUT, max_message=4096), quota)
    _plain(server)
    with suppress(RemoteProtocolError):
        for piece in _pieces_of(data):
            for event in server.receive_data(_frame(piece)):
                repr(event)
                if isinstance(event, MessageReceived | CallReceived) and event.id % 2:
                    server.fault(server.next_reply_id, Fault.BUSY)
                if isinstance(event, RecallReceived) and event.turns:
                    server.forget(len(event.turns[0].text.encode()))
            assert quota.taken <= 1000
    server.close()
    assert quota.taken == 0


def replies(data: bytes) -> None:
    """The plaintexts of records, received by a client that waits for five replies, of which two are results."""
    client = copy(_NEW_CLIENT)
    client.state = State.OPEN
    client.next_say_id = 6
    client._decoder.reset()
    client._reader = ItemReader()
    client._pending = deque(_ANSWERS)
    _plain(client)
    with suppress(RemoteProtocolError):
        for piece in _pieces_of(data):
            for event in client.receive_data(_frame(piece)):
                repr(event)
                if isinstance(event, ReplyReceived):
                    event.text.encode()


def items(data: bytes) -> None:
    """The items of a result, which must not depend on the pieces, read by both implementations."""

    def read_items(reader: ItemReader, pieces: list[bytes]) -> list[object] | None:
        found: list[object] = []
        try:
            for piece in pieces:
                found += reader.feed(piece)
            reader.end()
        except RemoteProtocolError:
            return None
        return found

    found = read_items(ItemReader(), _pieces(data))
    assert found == read_items(ItemReader(), [data[1:]])
    reader = ResultReader()
    try:
        reader.add(data[1:])
        result = reader.end()
    except AbortError:
        assert found is None
        return
    assert found is not None
    assert [(item.name, item.data) for item in found if isinstance(item, ServerEvent)] == result.events
    assert b"".join(item.data for item in found if isinstance(item, Piece)) == result.body


def joining(data: bytes) -> None:
    """Two events, the second after a NUL: both implementations join them to the same bytes, or both do not."""
    first, _nul, second = data.partition(b"\0")
    template = Template.of(first)
    joined = None
    if template is not None:
        in_first, in_second = template.match(first), template.match(second)
        assert in_first is not None
        assert template.fill(in_first) == first
        if in_second is not None and (values := template.join(in_first, in_second)) is not None:
            joined = template.fill(values)
    with suppress(RecursionError):  # of theirs
        expected = join(first, second)
        assert joined == expected or first.count(b"[") + first.count(b"{") > MAX_DEPTH


def writer(data: bytes) -> None:
    """Events between NULs, taken at any time, are read again."""
    result = ResultWriter()
    result.add_head(200, "text/event-stream")
    reader = ItemReader()
    events = []
    for part in data.split(b"\0"):
        with suppress(RobotError):
            result.add_event("", part[1:])
        events += reader.feed(result.take(part[0] if part else 0))
    while result.size:
        events += reader.feed(result.take(100))
    reader.end()


def call(data: bytes) -> None:
    """The content of a CALL, and the decision about it."""
    with suppress(RemoteProtocolError):
        found = decode(messages.CALL, data)
        assert encode(found) == data
        request = examine(found.path, found.body, Access(True, {"m"}))
        if isinstance(request, Request) and request.body is not None:
            assert request.body.replaced({}) == found.body
            assert request.body.model == json.loads(found.body)["model"] == "m"
            json.loads(request.body.replaced({"model": "x", "user": "y"}))


def recall(data: bytes) -> None:
    """The content of a RECALL."""
    with suppress(RemoteProtocolError):
        turns = messages.decode_turns(data)
        assert len(turns) <= messages.MAX_TURNS
        assert messages.encode_turns(turns) == data


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


def certificate(data: bytes) -> None:
    """A certificate after its type: it is sent and read as the same, and both implementations accept it, or neither."""
    blob = string(CERTIFICATE_TYPE) + data
    try:
        parts = split(blob)
    except ValueError:
        return
    resigned = parts._replace(ca=raw(CA))
    for certificate in (parts, resigned._replace(signature=CA.sign(resigned.signed))):
        key = keys.blob_of(certificate.key)
        assert read_credential(credential_of(certificate.blob)) == (key, certificate.blob)
        theirs = TheirCertificate(*certificate)
        assert read_certificate(theirs.fields()) == theirs
        try:
            found = Certificate.parse(certificate.blob)
        except ValueError:
            with suppress(AbortError):
                check_certificate(theirs)
                assert not acceptable(key), "they accept it"
        else:
            assert check_certificate(theirs) == found.principals
            found.allow("192.0.2.1", 0)


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


def raw_events(data: bytes) -> None:
    """The events of a stream that is passed on, which must not depend on the pieces."""
    with suppress(RobotError):
        assert _raw_events(*_pieces(data)) == _raw_events(data[1:])


def _raw_events(*pieces: bytes) -> list[tuple[str, bytes]]:
    stream = RawEvents()
    found = [event for piece in pieces for event in stream.feed(piece)]
    return [(event.name, event.data) for event in (*found, *stream.end())]


def usage(data: bytes) -> None:
    """The numbers of tokens in a response, which must not depend on the pieces."""

    def read(*pieces: bytes) -> tuple[int, int]:
        reader = UsageReader()
        for piece in pieces:
            reader.feed(piece)
        return reader.prompt, reader.completion

    assert read(*_pieces(data)) == read(data[1:])


def policy(data: bytes) -> None:
    """The body of a request, of which only certain values may change."""
    with suppress(InvalidBodyError, PolicyError):
        body = Body(data)
        request = Request(Route("POST", "chat/completions", None), body)
        for values in POLICY.changes(ApiCall(request, "user", "", None)):
            sent = json.loads(body.replaced(values))
            limits = [sent.get(name) for name in ("max_tokens", "max_completion_tokens", "n_predict")]
            assert any(limits)
            assert all(limit is None or (isinstance(limit, int) and 1 <= limit <= 9) for limit in limits)


def completion(data: bytes) -> None:
    """A response of an OpenAI-compatible server, which must not depend on the pieces."""
    found = read(*_pieces(data))
    assert found == read(data[1:])
    found[0].encode()


def config(data: bytes) -> None:
    """The client's configuration file; each host in it can be used, and errors have a line."""
    with suppress(ConfigurationError):
        found = read_config(ConfigFile(Path("client.toml"), data))
        for name in found.hosts:
            ClientSettings(**found.settings(name))
        ClientSettings(**found.settings(None))


def styler(data: bytes) -> None:
    """A reply on a terminal, in pieces: it looks as in one piece, and has no control characters."""
    pieces = [piece.decode(errors="replace") for piece in _pieces_of(data)]

    def rows(texts: list[str]) -> list[Row]:
        made = Styler()
        return [row for text in texts for row in made.feed(text, 40)] + made.end(40)

    whole = rows(["".join(pieces)])
    if rows(pieces) != whole:
        raise AssertionError("the rows depend on the pieces")
    for row in whole:
        text = render(row, styled=False)
        if sanitize(text) != text:
            raise AssertionError("a row is not clean")


_LANGUAGES: Final = sorted(LANGUAGES)


def code(data: bytes) -> None:
    """Code in the language that the first byte selects: its text stays what it is."""
    styler = CodeStyler()
    styler.begin(_LANGUAGES[data[0] % len(_LANGUAGES)] if data else "")
    for line in data[1:].decode(errors="replace").split("\n"):
        assert plain(styler.feed(line)) == line


def text_filter(data: bytes) -> None:
    """Text for a terminal: the filter does not depend on the pieces, and leaves nothing for a second one."""
    text = data[1:].decode(errors="surrogateescape")
    size = data[0] % 16 + 1 if data else 1
    sanitizer = Sanitizer()
    clean = "".join(sanitizer.feed(text[start : start + size]) for start in range(0, len(text), size))
    assert clean == sanitize(text) == sanitize(clean)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in clean if letter not in "\n\t")


_HISTORY: Final = Path(mkdtemp()) / "history"


def history(data: bytes) -> None:
    """A file with earlier input."""
    _HISTORY.write_bytes(data)
    assert all(isinstance(entry, str) for entry in InputHistory(_HISTORY).load_history_strings())


def conversation(data: bytes) -> None:
    """A saved conversation: what is read is the same after it has been written again."""
    with suppress(ConfigurationError):
        exchanges = saved.decode(data, Path("x"))
        assert saved.decode(saved.content(exchanges), Path("x")) == exchanges


def proxy_header(data: bytes) -> None:
    """The header of a proxy: what was read in pieces is the same as a whole."""
    with suppress(InvalidHeaderError):
        header = read_header(data)
        assert header is None or 0 < header.size <= len(data)
        assert header is None or read_header(data[: header.size]) == header


async def _used(_since: date | None) -> AsyncIterator[Entry]:
    yield Entry(date.min, "ann", Counts())


_FACTORY = ChatServerFactory(ServerSettings(), identity(), Anyone(), EchoRobot(), Clock())
_CONTROL = ControlFactory(Controls(_FACTORY, lambda: "no", lambda: None, _used), Clock())


def control(data: bytes) -> None:
    """What a connection to the control socket sends: a line, or too much without one, has an answer that ends."""
    connection = _CONTROL.buildProtocol(None)
    assert connection is not None
    transport = StringTransport()
    connection.makeConnection(transport)
    for piece in _pieces(data):
        connection.dataReceived(piece)
    while transport.producer is not None:
        transport.producer.resumeProducing()
    connection.connectionLost()
    if b"\n" in data[1 : MAX_REQUEST + 1] or len(data) - 1 > MAX_REQUEST:
        assert "result" in json.loads(transport.value().splitlines()[-1])


def server_config(data: bytes) -> None:
    """A configuration file with robots and limits of users."""
    with suppress(ConfigurationError):
        file = ConfigFile(Path("/config"), data)
        file.root.read(ServerSettings, "robot", "user")
        limits_in(file, ServerSettings())
        for _name, table in robots_in(file):
            assert isinstance(table, Table)
            table.read(OpenAISettings, "type")


def host_key(data: bytes) -> None:
    """The payload of a server's HOSTKEY."""
    with suppress(RemoteProtocolError):
        proof = decode(messages.HOST_KEY, data)
        assert check_successor(proof, SECRET, PRESENT.blob, hint_of(proof.host_key)) == proof.host_key


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "hello": hello,
    "welcome": welcome,
    "about": about,
    "records": records,
    "replies": replies,
    "record_body": record_body,
    "items": items,
    "joining": joining,
    "writer": writer,
    "call": call,
    "recall": recall,
    "host_key": host_key,
    "message": message,
    "public_key": public_key,
    "private_key": private_key,
    "public_line": _text(keys.parse_public_line),
    "known_hosts": _text(lambda line: parse_known(1, line)),
    "proxy_header": proxy_header,
    "server_config": server_config,
    "key_options": _text(lambda line: parse_options(split_options(line)[0]).allow("192.0.2.1", 0)),
    "revoked_keys": _text(parse_revoked),
    "certificate": certificate,
    "certificate_line": _text(parse_certificate_line),
    "authorized_keys": _text(lambda line: parse_authorized(line, messages.MAX_ABOUT)),
    "host": _text(canonical_host),
    "destination": _text(parse_destination),
    "turing": turing,
    "sse": sse,
    "raw_events": raw_events,
    "usage": usage,
    "policy": policy,
    "completion": completion,
    "config": config,
    "styler": styler,
    "code": code,
    "filter": text_filter,
    "history": history,
    "command": _text(parse_command, UnknownCommandError),
    "control": control,
    "conversation": conversation,
    "eliza": _text(lambda text: (ENGLISH.answer([text]), CHINESE.answer([text]))),
    **API_TARGETS,
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
    half = encode(Chunk(1, False, b"x" * 480))
    turns = messages.encode_turns([Turn(Speaker.USER, "hi"), Turn(Speaker.ROBOT, "你好")])
    request = encode(messages.Call("chat/completions", b'{"model": "m", "user":"\\u00e9"}'))
    stream = encode(Head(200, "text/event-stream")) + encode(ServerEvent("e", b"abcdef")) + encode(Delta(2, 2, b"x"))
    event, response = (
        b'{"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null}]}',
        (b'{"type":"response.refusal.delta","delta":"%b","sequence_number":1,"obfuscation":"x"}'),
    )

    def plain(*records: tuple[RecordType, bytes]) -> bytes:
        """The plaintexts of records without their padding, each after its length."""
        parts = (bytes([kind]) + len(payload).to_bytes(2, "big") + payload for kind, payload in records)
        return b"".join(len(part).to_bytes(2, "big") + part for part in parts)

    return {
        "hello": [first],
        "welcome": [answer],
        "about": [
            plain((RecordType.ABOUT, encode(about)))[2:]
            for about in (ABOUT, replace(ABOUT, software=announce("test", key.blob)))
        ],
        "records": [
            plain((RecordType.SAY, say), (RecordType.CANCEL, encode(Cancel(1))), (RecordType.GOODBYE, goodbye)),
            plain((RecordType.NEW, b""), *[(RecordType.SAY, half)] * 4, (RecordType.SAY, say)),
            plain((RecordType.REKEY, b""), (RecordType.PAD, b""), (RecordType.HOSTKEY, b"")),
            plain(
                (RecordType.CALL, encode(Chunk(1, True, request))),
                (RecordType.RECALL, encode(RecallChunk(True, turns))),
                (RecordType.SAY, encode(Chunk(2, True, b"hi"))),
            ),
        ],
        "replies": [
            plain(
                (RecordType.REPLY, say),
                (RecordType.RESULT, encode(Chunk(2, True, stream))),
            ),
            plain((RecordType.REPLY, half), (RecordType.REPLY, say), (RecordType.FAULT, encode(FaultReport(2, 12)))),
            plain((RecordType.REKEY, b""), (RecordType.PAD, b"")),
        ],
        "record_body": [Sealer(suite, SECRET).seal(RecordType.SAY, say, 0.0)[4:] for suite in SUITES.values()],
        "items": [b"\0" + stream, b"\5" + encode(Head(404, "a/b")) + encode(Piece(b"x")) + encode(Piece(b""))],
        "joining": [event % b"a" + b"\0" + event % b"\\n", response % b"a" + b"\0" + response % b"b"],
        "writer": [b"\0".join(size + event % b"a" for size in (b"\1", b"\1", b"~", b"\1"))],
        "call": [request, encode(messages.Call("models/m", b""))],
        "recall": [turns, b"\x90", messages.encode_turns([Turn(Speaker.USER, "")] * 20)],
        "host_key": [encode(HostKeys(PRESENT, key).prove(SECRET))],
        "message": [bytes([number]) + say for number in range(len(DECODERS))],
        "public_key": [suite.generate_key().public_bytes for suite in SUITES.values()],
        "private_key": [key.private_bytes()],
        "public_line": [line],
        "known_hosts": [b"[localhost]:8080 " + line, b"@revoked *,!a " + line, b"|1|c2FsdA==|aGFzaA== " + line],
        "proxy_header": [
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 8080\r\nhello",
            b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
        ],
        "server_config": [
            b'# x\nlisten = [\n"tcp:1",\n]\ntick = 0.1\napi = true\n[robot.x]\ntype = "openai"\nsystem = """a\n]"""\n',
            b'robot.openai.key-file = "~/x"\nname = ["[a]:1"]\nsuites = ["rsa2048-fernet"]\nshaping = "off"\n',
            b'messages-per-day = 9\n[user."a@b"]\ntokens-per-day = 0\n[user.c]\nmax-replies = -1\n',
        ],
        "key_options": [b'from="!10.0.0.1,192.0.2.*,2001:db8::/32" x', b'expiry-time="203001011200Z",no-pty x'],
        "revoked_keys": [line, keys.fingerprint(key.blob).encode()],
        "certificate": [
            issue(key, b"alice", b"ops", options=source_address(b"10.0.0.0/8,::1"))[36:],
            issue(key, b"alice", extensions=extensions_of(31))[36:],
        ],
        "certificate_line": [CERTIFICATE_TYPE + b" " + b64encode(issue(key, b"alice")) + b" comment"],
        "authorized_keys": [line, b'from="::1" ' + line, b'cert-authority,principals="a,b" ' + line],
        "host": [b"example.org", b"::1", "例子.中国".encode()],
        "destination": [b"localhost:8080", b"[::1]:1"],
        "turing": [b'{"intent":{"code":10004},"results":[{"groupType":1,"resultType":"text","values":{"text":"hi"}}]}'],
        "sse": [
            b"\0data: a\ndata: b\n\nevent: x\nid: 1\nretry: 2\n: c\ndata\n\n",
            b"\7\xef\xbb\xbfdata: a\r\rdata: [DONE]",
            b'\3error: {"code":500}\r\n\r\n',
        ],
        "raw_events": [
            b"\0data: a\ndata: b\n\nevent: x\nid: 1\nretry: 2\n: c\ndata\n\n",
            b"\7\xef\xbb\xbfevent:a\rdata:b\r\rdata: [DONE]",
        ],
        "usage": [
            b'\4data: {"usage":null}\n\ndata: {"usage" : {"prompt_tokens":9,"completion_tokens":4,"x":{"y":1}}}\n\n',
            b'\11{"data":[0.1],"usage":{"input_tokens":7,"output_tokens":1}}',
        ],
        "policy": [
            b'{"model": "m", "user":"\\u00e9", "messages": [{}], "max_tokens" :10}',
            b'{"max_completion_tokens":1e3,"n_predict":-1,"messages":[]}',
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
        "config": [
            b'agent = true\n[host.a]\naddress = "b:1"\nserve-sessions = 4\n',
            b"[host.a]\nserve-origin = [\n'http://a']\nx = 1",
        ],
        "styler": [b"\0\x20# A **b** `c`\n\n- d\n```\ne\n```\n|f|\n|-|\n", b"\0\x20```py\ndef f():\n\n    'a'\n```\n"],
        "code": [
            bytes([_LANGUAGES.index(name)]) + text
            for name, text in (
                ("python", b'def f(a):\n    """b\n    c"""\n'),
                ("html", b"<!-- a\nb -->\n<script>\nlet x = `${1}`;\n</script>\n"),
                ("bash", b"cat <<EOF\n$(x)\nEOF\n"),
                ("rust", b"/* a /* b */\n*/ fn f<'a>() {}\n"),
            )
        ],
        "filter": [b"\0a\x1b[31m\xc2\x9b\xe2\x80\xae\n", "\3e\u0301👨\u200d👩 \u200d".encode()],
        "history": [b'"a"\n"\\u00e9"\n', b"[]\n\xff\n"],
        "command": [b"/save file", b"//text", b"/usr/bin"],
        "control": [
            b'\0{"command":"sessions"}\n',
            b'\3{"command":"kick","session":1}\n',
            *(b'\7{"command":"%b"}\n' % name for name in (b"users", b"usage", b"reload", b"drain", b"stats")),
            b'\7{"command":"kick-user","user":"ann"}\n',
            b'\7{"command":"reload-all"}\n',
            b'\3{"command":"usage","since":"2026-03-01"}\n',
        ],
        "conversation": [b'{"user":"a","robot":"b"}\n', b'{"user":"\\u00e9","robot":"","again":true}\n' * 2],
        "eliza": [b"my name is Ada", "我喜欢你".encode()],
        **api_seeds(),
    }
