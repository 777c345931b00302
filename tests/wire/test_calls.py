"""CALL, RESULT and RECALL between both ends of a session over memory."""

from msgspec.structs import replace

from securechat.conversation import Speaker, Turn
from securechat.errors import Category, Fault, LocalProtocolError
from securechat.wire.client_connection import MAX_RECALL_CHUNK
from securechat.wire.connection import MAX_CHUNK, State
from securechat.wire.events import (
    CallReceived,
    CallRefused,
    CancelReceived,
    FaultReceived,
    GoodbyeReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
    RecallReceived,
    ReplyReceived,
    ResultReceived,
)
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import MAX_TURNS, Call, Cancel, Chunk, Reason, RecallChunk, encode, encode_turns
from securechat.wire.records import MAX_PAYLOAD, RecordType
from tests.harness.pair import ABOUT, Pair, frames
from tests.wire.test_connection import ConnectionTests

API = replace(ABOUT, api=True)
CALL = encode(Call("models", b""))
HEAD = encode(Head(200, "text/plain"))
TURNS = [Turn(Speaker.USER, "你好"), Turn(Speaker.ROBOT, "hello"), Turn(Speaker.USER, "")]
PLAIN = b"\x93\x92\x00\xa6\xe4\xbd\xa0\xe5\xa5\xbd\x92\x01\xa5hello\x92\x00\xa0"  # the same


def opened(quota: int = 2**27, max_message: int = 64 * 1024) -> Pair:
    """A session whose server takes calls."""
    return Pair(about=replace(API, max_message=max_message), quota=quota).open()


def seal(pair: Pair, kind: RecordType, payload: bytes) -> None:
    """A record of the client, allowed or not."""
    pair.client._seal(kind, payload)


def part(message_id: int, chunk: bytes, *, last: bool = True) -> bytes:
    return encode(Chunk(message_id, last, chunk))


class CallTests(ConnectionTests):
    """API requests and results."""

    def test_aCallAndItsResult(self) -> None:
        """A request of any size arrives, and so do the items of its result."""
        pair = opened()
        for size in (0, 1, MAX_CHUNK, 20_000):
            body = b"x" * size
            message_id = pair.client.call("chat/completions", body)
            pair.pump()
            self.assertEqual(pair.server_events[-1], CallReceived(message_id, "chat/completions", body))
            items = HEAD + encode(Piece(b"a")) + encode(Piece(b"b"))
            pair.server.result(message_id, items[:-2], False)
            pair.server.result(message_id, items[-2:], True)
            pair.pump()
            pieces: list[Head | Piece | ServerEvent] = [Piece(b"a"), Piece(b"b")]
            self.assertEqual(
                pair.client_events[-2:],
                [
                    ResultReceived(message_id, [Head(200, "text/plain"), pieces[0]], False),
                    ResultReceived(message_id, pieces[1:], True),
                ],
            )

    def test_incompleteItems(self) -> None:
        """A record without the end of an item causes no event, unless it is the last of the result."""
        pair = opened()
        pair.client.call("models", b"")
        pair.pump()
        pair.server.result(1, HEAD[:3], False)
        self.assertEqual(pair.to_client(pair.server.data_to_send()), [])
        pair.server.result(1, HEAD[3:], False)
        pair.server.result(1, b"", True)
        pair.pump()
        self.assertEqual(pair.client_events[-1], ResultReceived(1, [], True))

    def test_bursts(self) -> None:
        """A request has a burst of at least 128 records; larger ones have the sizes of other messages."""
        pair = opened()
        for size, records in ((0, 128), (100 * MAX_CHUNK, 128), (128 * MAX_CHUNK, 182)):
            pair.client.call("models", b"x" * size)
            self.assertEqual(len(frames(pair.client.data_to_send())), records)

    def test_notTaken(self) -> None:
        """A client sends no request to a server that does not take any, and none before ABOUT."""
        self.assertRaises(LocalProtocolError, Pair().open().client.call, "models", b"")
        self.assertRaises(LocalProtocolError, Pair().client.call, "models", b"")

    def test_tooLong(self) -> None:
        """A request is as long as ABOUT allows, path included."""
        pair = opened(max_message=4096)
        longest = 4096 - len(encode(Call("embeddings", bytes(256)))) + 256
        pair.client.call("embeddings", bytes(longest))
        self.assertRaises(ValueError, pair.client.call, "embeddings", bytes(longest + 1))
        pair.pump()
        self.assertEqual(pair.server_events[-1], CallReceived(1, "embeddings", bytes(longest)))
        for _ in range(8):
            seal(pair, RecordType.CALL, part(2, bytes(490), last=False))
        pair.pump()
        self.assertServerAborts(pair, Category.MESSAGE, RecordType.CALL, part(2, bytes(177)))

    def test_sharedIds(self) -> None:
        """SAY and CALL have their ids from one counter, and are answered in their order."""
        pair = opened()
        self.assertEqual([pair.client.say("a"), pair.client.call("models", b""), pair.client.say("b")], [1, 2, 3])
        pair.pump()
        self.assertRaises(LocalProtocolError, pair.server.result, 1, HEAD, True)
        pair.server.reply(1, b"A", True)
        self.assertRaises(LocalProtocolError, pair.server.reply, 2, b"x", True)
        self.assertRaises(LocalProtocolError, pair.server.result, 2, b"", False)
        pair.server.result(2, HEAD, True)
        pair.server.reply(3, b"B", True)
        pair.pump()
        self.assertEqual(
            pair.client_events[-3:],
            [
                ReplyReceived(1, "A", True),
                ResultReceived(2, [Head(200, "text/plain")], True),
                ReplyReceived(3, "B", True),
            ],
        )

    def test_faultEndsAResult(self) -> None:
        """A FAULT drops an incomplete item, and the next result begins anew."""
        pair = opened()
        for _ in range(2):
            pair.client.call("models", b"")
        pair.pump()
        pair.server.result(1, HEAD + b"\x92\x01\xc4\x05x", False)
        pair.server.fault(1, Fault.BROKEN_ANSWER)
        pair.server.result(2, HEAD, True)
        pair.pump()
        self.assertEqual(
            pair.client_events[-2:],
            [FaultReceived(1, Fault.BROKEN_ANSWER), ResultReceived(2, [Head(200, "text/plain")], True)],
        )

    def test_deltas(self) -> None:
        """Events that are sent as differences arrive whole."""
        pair = opened()
        pair.client.call("responses", b"{}")
        pair.pump()
        stream = (
            encode(Head(200, "text/event-stream")) + encode(ServerEvent("e", b"abc")) + b"\x94\x03\x01\x01\xc4\x02xy"
        )
        pair.server.result(1, stream, True)
        pair.pump()
        result = pair.client_events[-1]
        assert isinstance(result, ResultReceived)
        self.assertEqual(result.items[1:], [ServerEvent("e", b"abc"), ServerEvent("e", b"axyc")])

    def test_wrongType(self) -> None:
        """A REPLY to a CALL, and a RESULT of a SAY, abort the connection, whole or within the other."""
        pair = opened()
        pair.client.call("models", b"")
        pair.pump()
        pair.server.result(1, HEAD, False)
        pair.pump()
        self.assertClientAborts(pair, Category.ORDER, RecordType.REPLY, part(1, b"x"))
        pair = opened()
        pair.client.say("a")
        pair.pump()
        self.assertClientAborts(pair, Category.ORDER, RecordType.RESULT, part(1, HEAD))
        self.assertClientAborts(opened(), Category.ORDER, RecordType.RESULT, part(1, HEAD))

    def test_wrongResults(self) -> None:
        """An invalid item, an incomplete one at the end, an empty result and an empty chunk abort the connection."""
        for chunk, last in ((b"\x92", True), (b"", True), (encode(Piece(b"")), False), (HEAD * 2, False), (b"", False)):
            pair = opened()
            pair.client.call("models", b"")
            pair.pump()
            self.assertClientAborts(pair, Category.MALFORMED, RecordType.RESULT, part(1, chunk, last=last))

    def test_wrongCalls(self) -> None:
        """Contents that are not one canonical array, an empty chunk, and a wrong id abort the connection."""
        for content in (
            b"",
            b"\x90",
            b"\x91\xa1x",
            b"\x93\xa1x\xc4\x00\x00",
            b"\x92\xc4\x01x\xc4\x00",
            b"\x92\xa1x\xa0",
            b"\x92\xa1\xff\xc4\x00",
            b"\x92\xd9\x01x\xc4\x00",
            b"\x92\xa1x\xc5\x00\x00",
            b"\xdc\x00\x02\xa1x\xc4\x00",
            CALL + b"\0",
            CALL[:-1],
        ):
            self.assertServerAborts(opened(), Category.MALFORMED, RecordType.CALL, part(1, content))
        self.assertServerAborts(opened(), Category.MALFORMED, RecordType.CALL, part(1, b"", last=False))
        for message_id in (0, 2):
            self.assertServerAborts(opened(), Category.ORDER, RecordType.CALL, part(message_id, CALL))

    def test_withinAMessage(self) -> None:
        """Within a SAY or CALL, a chunk of the other type, a RECALL and NEW abort; CANCEL of an earlier id does not."""
        kinds = RecordType.SAY, RecordType.CALL
        for kind, other in (kinds, kinds[::-1]):
            for wrong, payload in (
                (other, part(2, b"x")),
                (RecordType.RECALL, encode(RecallChunk(True, b"\x90"))),
                (RecordType.NEW, b""),
                (RecordType.CANCEL, encode(Cancel(2))),
            ):
                pair = opened()
                pair.client.say("a")
                seal(pair, kind, part(2, CALL[:4], last=False))
                seal(pair, RecordType.CANCEL, encode(Cancel(1)))
                seal(pair, RecordType.PAD, b"")
                pair.pump()
                self.assertEqual(pair.server_events[-1], CancelReceived(1))
                self.assertServerAborts(pair, Category.ORDER, wrong, payload)

    def test_goodbyeWithinACall(self) -> None:
        """A request that is not complete at GOODBYE is dropped."""
        pair = opened()
        seal(pair, RecordType.CALL, part(1, CALL[:4], last=False))
        pair.client.goodbye(Reason.LEAVING, 0)
        pair.pump()
        self.assertEqual(pair.server_events[-1], GoodbyeReceived(Reason.LEAVING, 0))

    def test_cancel(self) -> None:
        """A request is cancelled like a message."""
        pair = opened()
        pair.client.call("models", b"")
        pair.client.cancel(1)
        pair.pump()
        self.assertEqual(pair.server_events[-1], CancelReceived(1))

    def test_quota(self) -> None:
        """A request counts for the quota until its result has ended; one that exceeds it is dropped unread."""
        pair = opened(quota=1000)
        pair.client.call("models", b"x" * 500)
        pair.pump()
        taken = pair.quota.taken
        self.assertEqual(taken, len(encode(Call("models", b"x" * 500))))
        seal(pair, RecordType.CALL, part(2, b"\xff" * 400, last=False))
        seal(pair, RecordType.CALL, part(2, b"\xff" * 400, last=False))
        seal(pair, RecordType.CALL, part(2, b"\xff"))
        pair.client.next_say_id += 1
        pair.client._pending.append(RecordType.RESULT)
        pair.pump()
        self.assertEqual(pair.server_events[-1], CallRefused(2))
        self.assertEqual(pair.quota.taken, taken)
        pair.client.call("models", b"y")
        pair.pump()
        self.assertEqual(pair.server_events[-1], CallReceived(3, "models", b"y"))
        pair.server.result(1, HEAD, True)
        pair.server.fault(2, Fault.BUSY)
        pair.server.fault(3, Fault.NOT_FOUND)
        self.assertEqual(pair.quota.taken, 0)


class RecallTests(ConnectionTests):
    """Turns of an earlier conversation."""

    def recall(self, pair: Pair, chunk: bytes = PLAIN, *, last: bool = True) -> None:
        seal(pair, RecordType.RECALL, encode(RecallChunk(last, chunk)))

    def test_beforeAMessage(self) -> None:
        """Turns arrive before the message that they were sent with, in one burst of one of its sizes."""
        pair = Pair().open()
        pair.client.say("and?", TURNS)
        burst = frames(pair.client.data_to_send())
        self.assertEqual(len(burst), 2)
        pair.to_server(b"".join(burst))
        self.assertEqual(pair.server_events[-2:], [RecallReceived(TURNS), MessageReceived(1, "and?")])
        pair.server.reply(1, b"", True)
        pair.pump()
        pair.client.say("x" * 5 * MAX_CHUNK, [Turn(Speaker.USER, "x" * 2 * MAX_RECALL_CHUNK)])
        burst = frames(pair.client.data_to_send())
        self.assertEqual(len(burst), 8)
        pair.to_server(b"".join(burst))
        self.assertEqual(pair.server_events[-1], MessageReceived(2, "x" * 5 * MAX_CHUNK))

    def test_bytesOnTheWire(self) -> None:
        """The encoding is that of the specification, written out by hand."""
        self.assertEqual(encode_turns(TURNS), PLAIN)
        self.assertEqual(encode(RecallChunk(True, b"\x90")), b"\x92\xc3\xc4\x01\x90")
        self.assertEqual(len(encode(RecallChunk(True, bytes(MAX_RECALL_CHUNK)))), MAX_PAYLOAD)

    def test_nothing(self) -> None:
        """An empty conversation can be recalled; it is not the same as none."""
        pair = Pair().open()
        pair.client.say("a", [])
        pair.pump()
        self.assertEqual(pair.server_events[-2:], [RecallReceived([]), MessageReceived(1, "a")])

    def test_clientsLimits(self) -> None:
        """A client recalls no more turns than a server accepts, and sends nothing of a message with too many."""
        pair = Pair(about=replace(ABOUT, max_message=2**20)).open()
        for turns in ([Turn(Speaker.USER, "")] * (MAX_TURNS + 1), [Turn(Speaker.USER, "x" * 2**20)]):
            self.assertRaises(ValueError, pair.client.say, "a", turns)
        self.assertRaises(ValueError, pair.client.say, "x" * (2**20 + 1), TURNS)
        self.assertEqual(pair.client.data_to_send(), b"")
        pair.client.say("a", [Turn(Speaker.USER, "")] * MAX_TURNS)
        self.assertRaises(LocalProtocolError, pair.client.say, "b", TURNS)  # the reply has not ended
        pair.pump()
        recalled = pair.server_events[-2]
        assert isinstance(recalled, RecallReceived)
        self.assertEqual(len(recalled.turns), MAX_TURNS)

    def test_rate(self) -> None:
        """A client recalls seven times at once, a server accepts eight, and both one more each minute."""
        pair = Pair().open()
        for number in range(1, 8):
            pair.client.say("a", TURNS)
            pair.pump()
            pair.server.reply(number, b"", True)
            pair.pump()
        self.assertRaises(LocalProtocolError, pair.client.say, "a", TURNS)
        pair.clock.advance(59)
        self.assertRaises(LocalProtocolError, pair.client.say, "a", TURNS)
        self.recall(pair)
        pair.pump()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(8, b"", True)
        self.assertServerAborts(pair, Category.LIMIT, RecordType.RECALL, encode(RecallChunk(False, b"x")))
        pair = Pair().open()
        for number in range(1, 10):
            self.recall(pair)
            pair.client.say("a")
            pair.pump()
            self.assertIs(pair.server.state, State.OPEN)
            pair.server.reply(number, b"", True)
            if number == 8:
                pair.clock.advance(61)

    def test_whileAReplyIsOpen(self) -> None:
        """A RECALL while a reply has not ended aborts; the record with its end may still be on its way."""
        for call in (False, True):
            pair = opened()
            if call:
                pair.client.call("models", b"")
            else:
                pair.client.say("a")
            pair.pump()
            self.assertServerAborts(pair, Category.ORDER, RecordType.RECALL, encode(RecallChunk(True, PLAIN)))
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        self.recall(pair)
        pair.pump()
        self.assertEqual(pair.server_events[-1], RecallReceived(TURNS))

    def test_nothingBetween(self) -> None:
        """Between the chunks of a RECALL, and until its SAY begins, only PAD and REKEY may come."""
        for chunk, last in ((PLAIN[:5], False), (PLAIN, True)):
            for kind, payload in (
                (RecordType.CALL, part(2, CALL)),
                (RecordType.CANCEL, encode(Cancel(1))),
                (RecordType.NEW, b""),
                (RecordType.GOODBYE, b"\x92\x00\x00"),
                (RecordType.SAY, part(3, b"x")),
                *(((RecordType.RECALL, encode(RecallChunk(True, PLAIN))),) if last else ()),
                *(() if last else ((RecordType.SAY, part(2, b"x")),)),
            ):
                pair = opened()
                pair.client.say("a")
                pair.pump()
                pair.server.reply(1, b"", True)
                pair.pump()
                self.recall(pair, chunk, last=last)
                pair.client.pad()
                pair.clock.advance(901)
                pair.client.pad()  # a REKEY
                pair.pump()
                self.assertServerAborts(pair, Category.ORDER, kind, payload)

    def test_withinItsMessage(self) -> None:
        """Once the SAY has begun, what may come within a message may come again."""
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        self.recall(pair, PLAIN[:5], last=False)
        self.recall(pair, PLAIN[5:])
        seal(pair, RecordType.SAY, part(2, b"b", last=False))
        seal(pair, RecordType.CANCEL, encode(Cancel(1)))
        seal(pair, RecordType.SAY, part(2, b"c"))
        seal(pair, RecordType.NEW, b"")
        pair.pump()
        self.assertEqual(
            pair.server_events[-4:],
            [RecallReceived(TURNS), CancelReceived(1), MessageReceived(2, "bc"), NewReceived()],
        )

    def test_wrongTurns(self) -> None:
        """Contents that are not one canonical array of turns, and an empty chunk, abort the connection."""
        for content in (
            b"",
            b"\x80",
            b"\xc0",
            b"\x91\x91\x00",
            b"\x91\x93\x00\xa0\xa0",
            b"\x91\x92\x02\xa0",
            b"\x91\x92\xff\xa0",
            b"\x91\x92\xc2\xa0",
            b"\x91\x92\x00\xc4\x00",
            b"\x91\x92\x00\xa1\xff",
            b"\x91\x92\xcc\x00\xa0",
            b"\x91\x92\x00\xd9\x00",
            b"\xdc\x00\x01\x92\x00\xa0",
            b"\xdd\x00\x00\x00\x01\x92\x00\xa0",
            b"\xdc\x10\x01" + b"\x92\x00\xa0" * (MAX_TURNS + 1),
            PLAIN + b"\0",
            PLAIN[:-1],
        ):
            pair = Pair().open()
            for at in range(0, max(1, len(content)), MAX_RECALL_CHUNK):
                end = at + MAX_RECALL_CHUNK
                self.recall(pair, content[at:end], last=end >= len(content))
            self.assertAborts(pair.server, pair.client.data_to_send(), Category.MALFORMED)
        empty = encode(RecallChunk(False, b""))
        self.assertServerAborts(Pair().open(), Category.MALFORMED, RecordType.RECALL, empty)

    def test_tooLong(self) -> None:
        """A RECALL is as long as ABOUT allows."""
        pair = opened(max_message=4096)
        for _ in range(8):
            self.recall(pair, bytes(500), last=False)
        pair.pump()
        self.assertServerAborts(pair, Category.MESSAGE, RecordType.RECALL, encode(RecallChunk(True, bytes(97))))

    def test_quota(self) -> None:
        """Recalled turns count for the quota with their text, until they are forgotten or the session ends."""
        pair = Pair(quota=1000).open()
        self.recall(pair, PLAIN[:10], last=False)
        pair.pump()
        self.assertEqual(pair.quota.taken, 10)
        self.recall(pair, PLAIN[10:])
        pair.pump()
        self.assertEqual(pair.quota.taken, 11)
        pair.client.say("a")
        pair.pump()
        self.assertEqual(pair.quota.taken, 12)
        pair.server.reply(1, b"", True)
        pair.server.forget(6)
        self.assertEqual(pair.quota.taken, 5)
        pair.server.close()
        self.assertEqual(pair.quota.taken, 0)
        pair.server.forget(5)
        self.assertEqual(pair.quota.taken, 0)

    def test_beyondTheQuota(self) -> None:
        """A RECALL that exceeds the quota is dropped, and so is the message after it, but not the one after that."""
        pair = Pair(quota=600).open()
        self.recall(pair, b"\xff" * 400, last=False)
        self.recall(pair, b"\xff" * 400, last=False)
        self.recall(pair, b"\xff")
        pair.pump()
        self.assertEqual(pair.quota.taken, 0)
        pair.client.say("a")
        pair.client.say("b")
        pair.pump()
        self.assertEqual(pair.server_events[-2:], [MessageRefused(1), MessageReceived(2, "b")])
        self.assertEqual(pair.quota.taken, 1)

    def test_counts(self) -> None:
        """The server counts what has begun to arrive: a RECALL has its own time limit, and its SAY another."""
        pair = Pair().open()
        self.recall(pair, PLAIN[:5], last=False)
        pair.pump()
        self.assertEqual((pair.server.messages_begun, pair.server.message_size), (1, 5))
        self.recall(pair, PLAIN[5:])
        pair.pump()
        self.assertEqual((pair.server.messages_begun, pair.server.message_size), (1, 0))
        seal(pair, RecordType.SAY, part(1, b"b", last=False))
        pair.pump()
        self.assertEqual((pair.server.messages_begun, pair.server.message_size), (2, 1))
