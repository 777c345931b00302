"""Faults specific to one side: messages, ids and order."""

from collections.abc import Callable, Iterator
from functools import partial

from tests.independent.bending import GOOD_ABOUT, record
from tests.independent.client import Client
from tests.independent.faults import Fault
from tests.independent.pack import Value, pack
from tests.independent.peer import CHUNK, Peer
from tests.independent.records import ABOUT, CANCEL, FAULT, HOSTKEY, NEW, RECALL, REPLY, SAY

Row = tuple[tuple[int, bytes], ...]  # type and payload of each record

_BAD_TEXTS: dict[str, Value] = {"bin": b"", "nil": None, "65-bytes": "x" * 65, "33-characters-66-bytes": "é" * 33}
_BAD_FIELDS: tuple[tuple[int, str, dict[str, Value]], ...] = (
    (0, "user", _BAD_TEXTS),
    (1, "robot", _BAD_TEXTS),
    (2, "software", _BAD_TEXTS),
    (3, "max-message", {"4095": 4095, "2-26-plus-1": 2**26 + 1, "0": 0, "nil": None, "true": True}),
    (4, "api", {"0": 0, "1": 1, "nil": None}),
    (5, "shaping", {"3": 3, "2-64-minus-1": 2**64 - 1, "true": True, "text": "off"}),
    (6, "tick", {"0": 0, "60001": 60_001, "nil": None, "text": "100"}),
    (7, "width", {"0": 0, "65": 65, "nil": None, "true": True}),
)

_NOT_UTF8 = {
    "byte": b"a\xffb",
    "cut-character": "é".encode()[:1],
    "lone-continuation": b"\x80",
    "overlong": b"\xc0\x80",
    "surrogate": b"\xed\xa0\x80",
    "beyond-unicode": b"\xf4\x90\x80\x80",
}


def rows(kind: int, *payloads: Value) -> Row:
    return tuple((kind, pack(payload)) for payload in payloads)


_HALF = rows(SAY, (1, False, b"x"))
_HOST_KEY: Value = (bytes(51), bytes(64), bytes(64))
_HALF_REPLY = rows(REPLY, (1, False, b"x"))


def client_session_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="client", step="session")
    yield from bad_chunks(fault, "client-say", SAY)
    yield from _bad_texts(fault, "client-say", SAY)
    for name, category, sentence, row in (
        ("say-id-0", "order", "The first SAY has id 0", rows(SAY, (0, True, b"x"))),
        ("say-id-2", "order", "The first SAY has id 2", rows(SAY, (2, True, b"x"))),
        ("say-id-2-64", "order", "The first SAY has the largest id", rows(SAY, (2**64 - 1, True, b"x"))),
        ("say-mixed", "order", "Chunks of two messages mixed", rows(SAY, (1, False, b"x"), (2, True, b"y"))),
        ("new-within-say", "order", "NEW within a message", (*_HALF, (NEW, b""))),
        ("cancel-never-said", "order", "CANCEL of an unknown id", rows(CANCEL, (1,))),
        ("cancel-half-sent", "order", "CANCEL of a half-sent message", (*_HALF, *rows(CANCEL, (1,)))),
        ("reply-within-say", "order", "REPLY within a message", (*_HALF, *rows(REPLY, (1, True, b"x")))),
        ("cancel-0", "order", "CANCEL of id 0", rows(CANCEL, (0,))),
        ("cancel-two-fields", "malformed", "CANCEL with two ids", rows(CANCEL, (1, 2))),
        ("cancel-empty", "malformed", "CANCEL without payload", ((CANCEL, b""),)),
        ("cancel-text", "malformed", "CANCEL with a text id", rows(CANCEL, ("1",))),
        ("sends-reply", "order", "REPLY by a client", rows(REPLY, (1, True, b"x"))),
        ("sends-fault", "order", "FAULT by a client", rows(FAULT, (1, 1))),
        ("asks-host-key", "order", "HOSTKEY, which was not announced", ((HOSTKEY, b""),)),
        ("sends-about", "order", "ABOUT by a client", rows(ABOUT, GOOD_ABOUT)),
    ):
        yield fault(f"client-{name}", category, sentence, act=partial(send, row))
    for name, last in (("whole", True), ("endless", False)):
        what = "A message of max_message and one byte"
        yield fault(f"client-say-too-long-{name}", "message", what, act=partial(send_too_long, SAY, last))
    twice = rows(SAY, (1, True, b"x"), (1, True, b"y"))
    yield fault("client-say-id-twice", "order", "Two messages with id 1", act=partial(send, twice), answered=True)
    skipped = rows(SAY, (1, True, b"x"), (3, True, b"y"))
    yield fault("client-say-id-skipped", "order", "Id 2 is skipped", act=partial(send, skipped), answered=True)


def server_session_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="server", step="session")
    yield from bad_chunks(partial(fault, says=1), "server-reply", REPLY)
    yield from _bad_texts(partial(fault, says=1), "server-reply", REPLY)
    for says, name, category, sentence, row in (
        (0, "reply-never-said", "order", "REPLY although no message was sent", rows(REPLY, (1, True, b"x"))),
        (0, "fault-never-said", "order", "FAULT although no message was sent", rows(FAULT, (1, 1))),
        (1, "host-key-unasked", "order", "HOSTKEY that was not asked for", rows(HOSTKEY, _HOST_KEY)),
        (1, "reply-0", "order", "REPLY to id 0", rows(REPLY, (0, True, b"x"))),
        (1, "reply-2", "order", "REPLY to a future id", rows(REPLY, (2, True, b"x"))),
        (1, "reply-twice", "order", "Two replies to one message", rows(REPLY, (1, True, b"x"), (1, True, b"y"))),
        (
            1,
            "fault-after-reply",
            "order",
            "FAULT after the end of the reply",
            rows(REPLY, (1, True, b"x")) + rows(FAULT, (1, 9)),
        ),
        (1, "reply-after-fault", "order", "REPLY after FAULT", rows(FAULT, (1, 9)) + rows(REPLY, (1, True, b"x"))),
        (1, "fault-twice", "order", "FAULT twice", rows(FAULT, (1, 9), (1, 9))),
        (2, "reply-out-of-order", "order", "Replies in the wrong order", rows(REPLY, (2, True, b"x"))),
        (2, "reply-mixed", "order", "Chunks of two replies mixed", rows(REPLY, (1, False, b"x"), (2, False, b"y"))),
        (
            2,
            "fault-within-reply",
            "order",
            "FAULT of another reply",
            (*_HALF_REPLY, *rows(FAULT, (2, 9))),
        ),
        (
            1,
            "about-within-reply",
            "order",
            "ABOUT within a reply",
            (*_HALF_REPLY, *rows(ABOUT, GOOD_ABOUT)),
        ),
        (1, "fault-two-fields-more", "malformed", "FAULT with four fields", rows(FAULT, (1, 1, 1, 1))),
        (1, "fault-one-field", "malformed", "FAULT without a code", rows(FAULT, (1,))),
        (1, "fault-text", "malformed", "FAULT with a text code", rows(FAULT, (1, "down"))),
        (0, "sends-say", "order", "SAY by a server", rows(SAY, (1, True, b"x"))),
        (0, "sends-cancel", "order", "CANCEL by a server", rows(CANCEL, (1,))),
        (1, "sends-cancel-said", "order", "CANCEL by a server after a message", rows(CANCEL, (1,))),
        (0, "sends-new", "order", "NEW by a server", ((NEW, b""),)),
        (0, "about-twice", "order", "ABOUT again", rows(ABOUT, GOOD_ABOUT)),
    ):
        yield fault(f"server-{name}", category, sentence, act=partial(send, row), says=says)
    act = partial(send, rows(FAULT, (1, 0)))
    yield fault("server-fault-code-0", "malformed", "FAULT with code 0", act=act, says=1)
    act = partial(send, ((FAULT, b"\x92\x01\xcc\x0c"),))
    yield fault("server-fault-code-uint8", "malformed", "FAULT with an unknown code as uint 8", act=act, says=1)
    first = partial(Fault, role="server", step="client proof", category="malformed")
    for name, sentence, payload in (
        ("seven-fields", "Seven fields", pack(GOOD_ABOUT[:-1])),
        ("nine-fields", "Nine fields", pack((*GOOD_ABOUT, 1))),
        ("three-fields", "Three fields", pack(GOOD_ABOUT[:3])),
        ("user-not-utf8", "A user that is not UTF-8", b"\x98\xa1\xff" + pack(GOOD_ABOUT)[2:]),
        ("user-str8", "A user as str 8", b"\x98\xd9\x00" + pack(GOOD_ABOUT)[2:]),
        ("tick-uint16", "A tick as uint 16", pack(GOOD_ABOUT)[:-2] + b"\xcd\x00" + pack(GOOD_ABOUT)[-2:]),
        ("empty", "No payload", b""),
        *(
            (f"{field}-{name}", f"{field} is {name}", pack((*GOOD_ABOUT[:index], value, *GOOD_ABOUT[index + 1 :])))
            for index, field, values in _BAD_FIELDS
            for name, value in values.items()
        ),
    ):
        act = partial(send, ((ABOUT, payload),))
        yield first(f"server-about-{name}", sentence=f"Invalid ABOUT: {sentence}", act=act)
    reply = rows(REPLY, (1, False, b"half a "))
    yield fault(
        "server-cut-in-reply", "cut", "The stream ends within a reply", act=partial(_send_and_end, reply), says=1
    )


def bad_chunks(fault: Callable[..., Fault], word: str, kind: int, first: bytes = b"x") -> Iterator[Fault]:
    """Faults of all records with the chunks of a message or reply; the id is always the expected one.

    ``first`` is the beginning of a valid one.
    """
    for name, payload in (
        ("empty", b""),
        ("nil", pack(None)),
        ("two-fields", pack((1, True))),
        ("four-fields", pack((1, True, b"x", b"y"))),
        ("id-nil", pack((None, True, b"x"))),
        ("id-text", pack(("1", True, b"x"))),
        ("id-true", pack((True, True, b"x"))),
        ("id-negative", b"\x93\xff\xc3\xc4\x01x"),
        ("id-float", b"\x93\xca\x3f\x80\x00\x00\xc3\xc4\x01x"),
        ("id-uint8", b"\x93\xcc\x01\xc3\xc4\x01x"),
        ("id-uint64", b"\x93\xcf" + (1).to_bytes(8, "big") + b"\xc3\xc4\x01x"),
        ("last-1", pack((1, 1, b"x"))),
        ("last-nil", pack((1, None, b"x"))),
        ("chunk-str", pack((1, True, "x"))),
        ("chunk-bin16", b"\x93\x01\xc3\xc5\x00\x01x"),
        ("chunk-too-short", b"\x93\x01\xc3\xc4\x02x"),
        ("array16", b"\xdc\x00\x03\x01\xc3\xc4\x01x"),
        ("map", b"\x83\x01\xc3\xc4\x01x\x01\x01"),
        ("trailing", pack((1, True, b"x")) + b"\xc0"),
    ):
        act = partial(send, ((kind, payload),))
        yield fault(f"{word}-{name}", "malformed", f"An invalid record: {name}", act=act)
    for name, row in (
        ("alone", rows(kind, (1, False, b""))),
        ("later", rows(kind, (1, False, first), (1, False, b""), (1, True, b"y"))),
    ):
        what = "An empty chunk that is not the last"
        yield fault(f"{word}-empty-chunk-{name}", "malformed", what, act=partial(send, row))


def _bad_texts(fault: Callable[..., Fault], word: str, kind: int) -> Iterator[Fault]:
    """Faults of both SAY and REPLY."""
    for name, text in _NOT_UTF8.items():
        act = partial(send, rows(kind, (1, True, text)))
        yield fault(f"{word}-not-utf8-{name}", "message", f"A message is not UTF-8: {name}", act=act)
    split = partial(send, rows(kind, (1, False, b"\xe4\xbd"), (1, True, b"x")))
    yield fault(f"{word}-not-utf8-split", "message", "A chunk ends in an incomplete character", act=split)


def send(row: Row, peer: Peer) -> None:
    peer.sock.sendall(b"".join(record(peer, kind, payload) for kind, payload in row))


def send_too_long(kind: int, last: bool, client: Client) -> None:
    """The server may abort while we are sending."""
    full, left = divmod(client.about.max_message, CHUNK)
    number = () if kind == RECALL else (1,)
    chunks: list[Value] = [(*number, False, b"x" * CHUNK) for _ in range(full)]
    send(rows(kind, *chunks, (*number, last, b"x" * (left + 1))), client)


def _send_and_end(row: Row, peer: Peer) -> None:
    send(row, peer)
    peer.sock.shutdown(1)  # for writing
