"""Faults of CALL, RESULT and RECALL."""

from collections.abc import Iterator
from functools import partial

from tests.independent.client import Client
from tests.independent.faults import Fault
from tests.independent.items import pack_items
from tests.independent.pack import Value, pack
from tests.independent.peer import cut
from tests.independent.records import CALL, CANCEL, FAULT, GOODBYE, NEW, RECALL, REPLY, RESULT, SAY
from tests.independent.server import Server
from tests.independent.session_faults import bad_chunks, rows, send, send_too_long

_CONTENT = pack(("models", b""))
_HALF = rows(CALL, (1, False, _CONTENT[:4]))
_HALF_SAY = rows(SAY, (1, False, b"x"))
_TURNS = pack(((0, "hello"), (1, "hi")))
_RECALLED = rows(RECALL, (True, _TURNS))
_HALF_RECALL = rows(RECALL, (False, _TURNS[:4]))
_BUCKET = 8  # RECALLs

_BAD_CALLS = {
    "empty": b"",
    "nil": pack(None),
    "one-field": pack(("models",)),
    "three-fields": pack(("models", b"", b"")),
    "path-bin": pack((b"models", b"")),
    "path-not-utf8": b"\x92\xa1\xff\xc4\x00",
    "path-str8": b"\x92\xd9\x06models\xc4\x00",
    "body-str": pack(("models", "")),
    "body-bin16": b"\x92\xa6models\xc5\x00\x00",
    "body-nil": pack(("models", None)),
    "array16": b"\xdc\x00\x02" + _CONTENT[1:],
    "trailing": _CONTENT + b"\xc0",
    "too-short": _CONTENT[:-1],
}

_BAD_TURNS = {
    "empty": b"",
    "nil": pack(None),
    "not-an-array": pack("hello"),
    "turn-text": pack(("hello",)),
    "one-field": pack(((0,),)),
    "three-fields": pack(((0, "a", "b"),)),
    "speaker-2": pack(((2, "a"),)),
    "speaker-true": pack(((True, "a"),)),
    "speaker-text": pack((("user", "a"),)),
    "speaker-uint8": b"\x91\x92\xcc\x00\xa1a",
    "text-bin": pack(((0, b"a"),)),
    "text-not-utf8": b"\x91\x92\x00\xa1\xff",
    "text-str8": b"\x91\x92\x00\xd9\x01a",
    "array16": b"\xdc\x00\x01\x92\x00\xa1a",
    "array32": b"\xdd\x00\x00\x00\x01\x92\x00\xa1a",
    "4097-turns": pack(((0, ""),) * 4097),
    "2-32-turns": b"\xdd\xff\xff\xff\xff",
    "trailing": _TURNS + b"\xc0",
    "too-short": _TURNS[:-1],
}


def client_call_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="client", step="session")
    yield from bad_chunks(fault, "client-call", CALL, b"\x92")
    for name, content in _BAD_CALLS.items():
        act = partial(send, rows(CALL, (1, True, content)))
        yield fault(f"client-call-content-{name}", "malformed", f"An invalid request: {name}", act=act)
    for name, category, sentence, row in (
        ("call-id-0", "order", "The first CALL has id 0", rows(CALL, (0, True, _CONTENT))),
        ("call-id-2", "order", "The first CALL has id 2", rows(CALL, (2, True, _CONTENT))),
        ("call-mixed", "order", "Chunks of two CALLs mixed", (*_HALF, *rows(CALL, (2, True, _CONTENT)))),
        ("say-within-call", "order", "SAY within a CALL", (*_HALF, *rows(SAY, (1, True, b"x")))),
        (
            "call-within-say",
            "order",
            "CALL within a SAY",
            rows(SAY, (1, False, b"x")) + rows(CALL, (1, True, _CONTENT)),
        ),
        ("new-within-call", "order", "NEW within a CALL", (*_HALF, (NEW, b""))),
        ("cancel-half-call", "order", "CANCEL of a half-sent CALL", (*_HALF, *rows(CANCEL, (1,)))),
        ("recall-within-call", "order", "RECALL within a CALL", (*_HALF, *_RECALLED)),
        ("recall-within-say", "order", "RECALL within a SAY", (*_HALF_SAY, *_RECALLED)),
        ("sends-result", "order", "RESULT by a client", rows(RESULT, (1, True, b"\x90"))),
    ):
        yield fault(f"client-{name}", category, sentence, act=partial(send, row))
    yield from _recall_faults()


def _recall_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="client", step="session")
    for name, payload in (
        ("no-payload", b""),
        ("one-field", pack((True,))),
        ("three-fields", pack((1, True, _TURNS))),
        ("last-1", pack((1, _TURNS))),
        ("chunk-str", pack((True, "x"))),
        ("chunk-bin16", b"\x92\xc3\xc5\x00\x01\x90"),
        ("empty-chunk", pack((False, b""))),
    ):
        act = partial(send, ((RECALL, payload),))
        yield fault(f"client-recall-{name}", "malformed", f"An invalid record: {name}", act=act)
    for name, content in _BAD_TURNS.items():
        act = partial(send, rows(RECALL, *cut(content)))
        yield fault(f"client-recall-turns-{name}", "malformed", f"Invalid turns: {name}", act=act)
    for name, row in (
        ("say", rows(SAY, (2, True, b"x"))),
        ("call", rows(CALL, (1, True, _CONTENT))),
        ("recall", _RECALLED),
        ("new", ((NEW, b""),)),
        ("goodbye", rows(GOODBYE, (0, 0))),
        ("cancel", rows(CANCEL, (1,))),
    ):
        sentence = f"{name.upper()} after a RECALL" + (", with the wrong id" if name == "say" else "")
        yield fault(f"client-{name}-after-recall", "order", sentence, act=partial(send, (*_RECALLED, *row)))
        if name == "recall":
            continue
        if name == "say":
            row = rows(SAY, (1, True, b"x"))
        sentence = f"{name.upper()} within a RECALL"
        yield fault(f"client-{name}-within-recall", "order", sentence, act=partial(send, (*_HALF_RECALL, *row)))
    for kind, name in ((CALL, "call"), (RECALL, "recall")):
        for whole, last in (("whole", True), ("endless", False)):
            what = "max_message and one byte"
            act = partial(send_too_long, kind, last)
            yield fault(f"client-{name}-too-long-{whole}", "message", what, act=act)
    what = "A RECALL before each of nine messages"
    yield fault("client-recall-flood", "limit", what, act=_recall_flood, answered=True)


def _recall_flood(client: Client) -> None:
    for _ in range(_BUCKET):
        client.say("x", [(0, "hello")])
        client.wait_for_reply()
    send(_RECALLED, client)


_STREAM, _WHOLE = "text/event-stream", "application/json"
_BAD_ITEMS = {
    "no-head-piece": pack((1, b"x")),
    "no-head-event": pack((2, "", b"x")),
    "no-head-difference": pack((3, 0, 0, b"x")),
    "no-item": b"",
    "two-heads": pack_items(200, _WHOLE, (0, 200, _WHOLE, 0)),
    "head-in-stream": pack_items(200, _STREAM, (2, "", b"x"), (0, 200, _STREAM, 0)),
    "event-in-body": pack_items(200, _WHOLE, (2, "", b"x")),
    "difference-in-body": pack_items(200, _WHOLE, (3, 0, 0, b"")),
    "piece-in-stream": pack_items(200, _STREAM, (1, b"x")),
    "piece-in-stream-with-parameters": pack_items(200, "Text/Event-Stream ; a=b", (1, b"x")),
    "event-in-almost-a-stream": pack_items(200, "text/event-streams", (2, "", b"x")),
    "item-4": pack_items(200, _WHOLE, (4, b"x")),
    "item-nil": pack_items(200, _WHOLE, (None, b"x")),
    "item-true": pack_items(200, _WHOLE, (True, b"x")),
    "not-an-array": pack_items(200, _WHOLE) + b"\xc0\xc0",
    "piece-two-fields": pack_items(200, _WHOLE, (1, b"x", b"y")),
    "piece-str": pack_items(200, _WHOLE, (1, "x")),
    "piece-bin16": pack_items(200, _WHOLE) + b"\x92\x01\xc5\x00\x01x",
    "piece-array16": pack_items(200, _WHOLE) + b"\xdc\x00\x02\x01\xc4\x01x",
    "piece-cut": pack_items(200, _WHOLE, (1, b"x"))[:-1],
    "piece-cut-in-length": pack_items(200, _WHOLE) + b"\x92\x01\xc6\x00",
    "status-199": pack_items(199, _WHOLE),
    "status-600": pack_items(600, _WHOLE),
    "status-text": pack((0, "200", _WHOLE, 0)),
    "status-true": pack((0, True, _WHOLE, 0)),
    "content-type-129": pack_items(200, "x" * 129),
    "content-type-newline": pack_items(200, "text/plain\n"),
    "content-type-del": pack_items(200, "text/\x7f"),
    "content-type-not-ascii": pack_items(200, "té"),
    "content-type-bin": pack((0, 200, b"text/plain", 0)),
    "retry-after-nil": pack((0, 200, _WHOLE, None)),
    "retry-after-missing": pack((0, 200, _WHOLE)),
    "retry-after-uint8": pack((0, 200, "", 0))[:-1] + b"\xcc\x00",
    "name-129": pack_items(200, _STREAM, (2, "x" * 129, b"")),
    "name-65-characters-130-bytes": pack_items(200, _STREAM, (2, "é" * 65, b"")),
    "name-cr": pack_items(200, _STREAM, (2, "a\rb", b"")),
    "name-lf": pack_items(200, _STREAM, (2, "a\nb", b"")),
    "name-nul": pack_items(200, _STREAM, (2, "a\0b", b"")),
    "name-bin": pack_items(200, _STREAM, (2, b"", b"")),
    "name-not-utf8": pack_items(200, _STREAM) + b"\x93\x02\xa1\xff\xc4\x00",
    "data-cr": pack_items(200, _STREAM, (2, "", b"a\rb")),
    "data-str": pack_items(200, _STREAM, (2, "", "a")),
    "difference-first": pack_items(200, _STREAM, (3, 0, 0, b"x")),
    "difference-beyond-head": pack_items(200, _STREAM, (2, "", b"abc"), (3, 4, 0, b"")),
    "difference-beyond-tail": pack_items(200, _STREAM, (2, "", b"abc"), (3, 0, 4, b"")),
    "difference-overlap": pack_items(200, _STREAM, (2, "", b"abc"), (3, 2, 2, b"")),
    "difference-2-64": pack_items(200, _STREAM, (2, "", b"abc"), (3, 2**64 - 1, 1, b"")),
    "difference-cr": pack_items(200, _STREAM, (2, "", b"abc"), (3, 1, 1, b"\r")),
    "difference-of-16385": pack_items(200, _STREAM, (2, "", b"x" * 16_385), (3, 0, 0, b"")),
    "difference-of-grown": pack_items(200, _STREAM, (2, "", b"x" * 16_384), (3, 16_384, 0, b"y"), (3, 0, 0, b"")),
    "difference-three-fields": pack_items(200, _STREAM, (2, "", b"abc"), (3, 1, b"")),
}
_ANNOUNCED = {  # an item of 2^24 bytes and one, of which only the lengths are sent
    "piece": pack_items(200, _WHOLE) + b"\x92\x01\xc6\x00\xff\xff\xfa",
    "name": pack_items(200, _STREAM) + b"\x93\x02\xdb\x01\x00\x00\x00",
    "data": pack_items(200, _STREAM) + b"\x93\x02\xa1x\xc6\x00\xff\xff\xf8",
    "difference": pack_items(200, _STREAM, (2, "", b"")) + b"\x94\x03\x00\x00\xc6\xff\xff\xff\xff",
}


def server_call_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="server", step="session", calls=1)
    head = pack_items(200, _WHOLE)
    yield from bad_chunks(fault, "server-result", RESULT, b"\x94")
    for name, items in _BAD_ITEMS.items():
        sentence = f"Invalid items: {name}"
        yield fault(f"server-items-{name}", "malformed", sentence, act=partial(_send_items, items, True))
    for name, items in _ANNOUNCED.items():
        sentence = f"The lengths of an item exceed 2^24: {name}"
        yield fault(f"server-items-announced-{name}", "malformed", sentence, act=partial(_send_items, items, False))
    half, whole, failed = rows(RESULT, (1, False, head)), rows(RESULT, (1, True, head)), rows(FAULT, (1, 9))
    for name, sentence, row in (
        ("reply-to-call", "REPLY to a CALL", rows(REPLY, (1, True, b"x"))),
        ("reply-within-result", "REPLY within a RESULT", (*half, *rows(REPLY, (1, True, b"x")))),
        ("result-0", "RESULT of id 0", rows(RESULT, (0, True, head))),
        ("result-2", "RESULT of a future id", rows(RESULT, (2, True, head))),
        ("result-twice", "Two RESULTs of one CALL", rows(RESULT, (1, True, head), (1, True, head))),
        ("result-after-fault", "RESULT after FAULT", failed + whole),
        (
            "fault-after-result",
            "FAULT after the end of the RESULT",
            rows(RESULT, (1, True, head)) + rows(FAULT, (1, 9)),
        ),
    ):
        yield fault(f"server-{name}", "order", sentence, act=partial(send, row))
    fault = partial(Fault, role="server", step="session", says=1)
    for name, sentence, row in (
        ("result-of-say", "RESULT of a SAY", whole),
        ("result-within-reply", "RESULT within a REPLY", rows(REPLY, (1, False, b"x")) + whole),
        ("sends-call", "CALL by a server", rows(CALL, (1, True, _CONTENT))),
        ("sends-recall", "RECALL by a server", _RECALLED),
    ):
        yield fault(f"server-{name}", "order", sentence, act=partial(send, row))


def _send_items(items: bytes, last: bool, server: Server) -> None:
    payloads: list[Value] = [(1, is_last and last, chunk) for is_last, chunk in cut(items)]
    send(rows(RESULT, *payloads), server)
