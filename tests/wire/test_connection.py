"""Both ends of a session over memory: order, sizes, rekeying, the end, and protocol violations."""

import math
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, Fault, LocalProtocolError, RemoteProtocolError
from securechat.wire.connection import MAX_CHUNK, Connection, State
from securechat.wire.events import (
    Admitted,
    CancelReceived,
    ClientProved,
    FaultReceived,
    GoodbyeReceived,
    HelloReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
    ReplyReceived,
    ServerProved,
    WelcomeReceived,
)
from securechat.wire.messages import Cancel, Chunk, FaultReport, Reason, encode
from securechat.wire.records import REKEY_RECORDS, RecordType
from securechat.wire.shaping import Shaping, burst_size
from tests.harness.pair import ABOUT, PQ, RSA, USER_KEY, Pair, frames, is_dead


class ConnectionTests(SynchronousTestCase):
    """Assertions about aborted connections."""

    def assertAborts(self, end: Connection, data: bytes, category: Category) -> None:
        """`data` aborts the connection with this category, and nothing is sent."""
        error = self.assertRaises(RemoteProtocolError, list, end.receive_data(data))
        self.assertEqual(error.category, category)
        self.assertTrue(is_dead(end))

    def assertServerAborts(self, pair: Pair, category: Category, kind: int, payload: bytes) -> None:
        """The server aborts when it receives this record from the client."""
        pair.client._seal(kind, payload)  # type: ignore[arg-type]
        self.assertAborts(pair.server, pair.client.data_to_send(), category)

    def assertClientAborts(self, pair: Pair, category: Category, kind: int, payload: bytes) -> None:
        """The client aborts when it receives this record from the server."""
        pair.server._seal(kind, payload)  # type: ignore[arg-type]
        self.assertAborts(pair.client, pair.server.data_to_send(), category)


def frame(content: bytes) -> bytes:
    """A frame with less than 256 bytes of content."""
    return bytes([0, 0, 0, len(content)]) + content


class HandshakeTests(ConnectionTests):
    """From the Hello to ABOUT."""

    waiting = Pair()

    def test_events(self) -> None:
        """Both ends yield the expected events, in both suites, with a user key and anonymously."""
        for suite in (PQ, RSA):
            for user_key in (None, USER_KEY):
                pair = Pair(suite, user_key=user_key).open()
                self.assertEqual([type(event) for event in pair.server_events], [HelloReceived, ClientProved])
                self.assertEqual(
                    [type(event) for event in pair.client_events], [WelcomeReceived, ServerProved, Admitted]
                )
                self.assertEqual(
                    pair.client_events[-1],
                    Admitted("", "echo", "test", 64 * 1024, api=False, shaping=Shaping.REPLY, tick=100, width=1),
                )
                self.assertIs(pair.client.state, State.OPEN)
                self.assertIs(pair.server.state, State.OPEN)

    def test_keysAreForgotten(self) -> None:
        """After the handshake, both ends have dropped its keys."""
        pair = Pair().open()
        self.assertIsNone(pair.client._handshake)
        self.assertIsNone(pair.server._handshake)

    def test_truncatesAbout(self) -> None:
        """A user name longer than 64 bytes is truncated to whole characters."""
        about = self.about(user="a" + "你" * 40)
        self.assertEqual(about.user, "a" + "你" * 21)

    def about(self, **fields: Any) -> Admitted:
        """What a client is told by a server whose ABOUT has these fields."""
        pair = Pair(about=replace(ABOUT, **fields)).open()
        about = pair.client_events[-1]
        assert isinstance(about, Admitted)
        return about

    def test_everyAbout(self) -> None:
        """The client is told the server's limit and the shape of its trains."""
        for shaping, number in (Shaping.OFF, 0), (Shaping.REPLY, 1), (Shaping.CONSTANT, 2):
            for max_message, tick, width in (4096, 1, 1), (2**26, 60_000, 64):
                about = self.about(max_message=max_message, api=True, shaping=number, tick=tick, width=width)
                self.assertEqual(
                    about,
                    Admitted("", "echo", "test", max_message, api=True, shaping=shaping, tick=tick, width=width),
                )

    def test_wrongAbout(self) -> None:
        """The client aborts if a text of ABOUT is longer than 64 bytes, or a number is out of range."""
        wrong: list[dict[str, Any]] = [
            {"user": "a" * 65},
            {"robot": "你" * 22},
            {"software": "a" * 65},
            *({"max_message": number} for number in (0, 4095, 2**26 + 1, 2**64 - 1)),
            {"api": 0},
            {"shaping": 3},
            *({"tick": number} for number in (0, 60_001, 0.5)),
            *({"width": number} for number in (0, 65)),
        ]
        for fields in wrong:
            pair = Pair()
            pair.to_server(pair.client.data_to_send())
            pair.to_client(pair.server.data_to_send())
            list(pair.server.receive_data(pair.client.data_to_send()))
            about = encode(replace(ABOUT, **fields))
            self.assertClientAborts(pair, Category.MALFORMED, RecordType.ABOUT, about)

    def test_lengths(self) -> None:
        """A frame of the handshake has 1 to 2048 bytes; other lengths abort before the content is received."""
        for length in (0, 2049, 2**32 - 1):
            pair = Pair()
            self.assertAborts(pair.server, length.to_bytes(4, "big"), Category.FRAMING)
            self.assertAborts(pair.client, length.to_bytes(4, "big"), Category.FRAMING)
        self.assertEqual(list(Pair().server.receive_data((2048).to_bytes(4, "big"))), [])
        self.assertAborts(Pair().server, b"\0\0\0\1x", Category.MALFORMED)

    @given(
        st.lists(st.binary(max_size=300) | st.binary(max_size=60).map(lambda data: bytes([0, 0, 0, len(data)]) + data))
    )
    def test_anyBytes(self, pieces: list[bytes]) -> None:
        """Any bytes, in any pieces, are incomplete or abort the connection, without an event or an answer."""
        client = self.waiting.same_client()
        client.data_to_send()
        ends: list[Connection] = [Pair.server_alone(), client]
        for end in ends:
            for piece in pieces:
                try:
                    self.assertEqual(list(end.receive_data(piece)), [])
                except RemoteProtocolError:
                    self.assertTrue(is_dead(end))
            self.assertEqual(end.data_to_send(), b"")

    def test_recordLengths(self) -> None:
        """Every record has exactly the record size of the suite."""
        for suite, size in ((PQ, 528), (RSA, 780)):
            for wrong in (0, size - 1, size + 1, 528 + 780 - size):
                pair = Pair(suite)
                pair.to_server(pair.client.data_to_send())
                self.assertAborts(pair.server, wrong.to_bytes(4, "big"), Category.FRAMING)
                welcome = frames(pair.server.data_to_send())
                self.assertEqual(welcome, [])
                opened = Pair(suite).open()
                self.assertAborts(opened.client, wrong.to_bytes(4, "big"), Category.FRAMING)

    def test_nothingWhileSigning(self) -> None:
        """The client aborts if the server sends anything between the two PROOFs."""
        pair = Pair(user_key=USER_KEY)
        pair.to_server(pair.client.data_to_send())
        list(pair.client.receive_data(pair.server.data_to_send()))
        self.assertIs(pair.client.state, State.SIGNING)
        self.assertAborts(pair.client, b"\0", Category.ORDER)

    def test_nothingBeforeAbout(self) -> None:
        """The server aborts if the client sends anything together with its PROOF: it has to wait for ABOUT."""
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        self.assertAborts(pair.server, pair.client.data_to_send() + b"\0", Category.ORDER)

    def test_firstRecords(self) -> None:
        """The first record of each end is its PROOF, and the server's second is ABOUT."""
        say = encode(Chunk(1, True, b"too early"))
        for kind, payload in (RecordType.SAY, say), (RecordType.PAD, b""), (RecordType.REKEY, b""):
            pair = Pair()
            self.assertEqual(len(pair.to_server(pair.client.data_to_send())), 1)
            welcome, _proof = frames(pair.server.data_to_send())
            [received] = pair.to_client(welcome)
            self.assertIsInstance(received, WelcomeReceived)
            self.assertServerAborts(pair, Category.ORDER, kind, payload)
        for kind, payload in (RecordType.ABOUT, encode(ABOUT)), (RecordType.PAD, b""), (RecordType.REKEY, b""):
            pair = Pair()
            pair.to_server(pair.client.data_to_send())
            [received] = pair.to_client(frames(pair.server.data_to_send())[0])
            pair.server._sealer._seq = 0  # type: ignore[union-attr]
            self.assertClientAborts(pair, Category.ORDER, kind, payload)
        for kind, payload in (RecordType.REPLY, say), (RecordType.PAD, b""), (RecordType.REKEY, b""):
            pair = Pair()
            pair.to_server(pair.client.data_to_send())
            received = pair.to_client(pair.server.data_to_send())[-1]
            self.assertIsInstance(received, ServerProved)
            [proved] = pair.server.receive_data(pair.client.data_to_send())
            self.assertIsInstance(proved, ClientProved)
            self.assertClientAborts(pair, Category.ORDER, kind, payload)

    def test_secondProof(self) -> None:
        """A second PROOF aborts the connection, in both directions."""
        self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.PROOF, b"")
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.PROOF, b"")

    def test_proofTwice(self) -> None:
        """`prove` can be called once, and not before ServerProved."""
        pair = Pair()
        self.assertRaises(LocalProtocolError, pair.client.prove, b"")
        pair.open()
        self.assertRaises(LocalProtocolError, pair.client.prove, b"")

    def test_notBeforeTheHandshake(self) -> None:
        """No message, PAD or GOODBYE can be sent before the end of the handshake."""
        pair = Pair()
        for early in (lambda: pair.client.say("x"), pair.client.pad, pair.client.start_afresh):
            self.assertRaises(LocalProtocolError, early)
        self.assertRaises(LocalProtocolError, pair.server.goodbye, Reason.LEAVING, 0)
        self.assertRaises(LocalProtocolError, pair.client.rekey_due)


class ChannelTests(ConnectionTests):
    """Messages and replies."""

    def test_bufferIsTrimmed(self) -> None:
        """What was processed of the data is not kept, wherever the pieces of it end."""
        pair = Pair().open()
        waiting = b""
        for _ in range(200):
            pair.client.pad()
            pair.client.pad()
            waiting += pair.client.data_to_send()
            self.assertEqual(list(pair.server.receive_data(waiting[:1000])), [])
            waiting = waiting[1000:]
            self.assertLess(len(pair.server._buffer), 1000 + 4 + PQ.record_size)
        self.assertEqual(pair.server.records_received, 1 + 200_000 // (4 + PQ.record_size))

    def test_recordsSent(self) -> None:
        """Records count once they are given to the transport; the Hello and the Welcome are none."""
        pair = Pair()
        self.assertEqual((pair.client.records_sent, pair.server.records_sent), (0, 0))
        pair.open()
        self.assertEqual((pair.client.records_sent, pair.server.records_sent), (1, 2))
        pair.client.pad()
        self.assertEqual(pair.client.records_sent, 1)
        pair.client.data_to_send()
        self.assertEqual(pair.client.records_sent, 2)

    def test_closedForgets(self) -> None:
        """A connection that is closed has forgotten its keys, the handshake and all data, whatever it was doing."""
        half, opened = Pair(), Pair().open()
        half.to_server(half.client.data_to_send())
        half.to_client(frames(half.server.data_to_send())[0])
        opened.client.say("x" * 2000)
        data = opened.client.data_to_send()
        list(opened.server.receive_data(data[:700]))
        opened.server.pad()
        ends: list[Any] = [Pair().client, Pair().server, half.client, half.server, opened.client, opened.server]
        for end in ends:
            end.close()
            self.assertEqual((end._sealer, end._opener, end._handshake), (None, None, None))
            self.assertEqual((end._buffer, end.data_to_send()), (b"", b""))
        self.assertEqual(opened.server._message, b"")
        self.assertEqual(opened.server.message_size, 0)

    def test_aMessageAndItsReply(self) -> None:
        """A message and its reply arrive; a character may be split between the chunks of the reply."""
        pair = Pair().open()
        self.assertEqual(pair.client.say("你好"), 1)
        pair.pump()
        self.assertEqual(pair.server_events[-1], MessageReceived(1, "你好"))
        data = "好".encode()
        pair.server.reply(1, data[:1], False)
        pair.server.reply(1, data[1:], False)
        pair.server.reply(1, b"", True)
        pair.pump()
        self.assertEqual(
            pair.client_events[-3:],
            [ReplyReceived(1, "", False), ReplyReceived(1, "好", False), ReplyReceived(1, "", True)],
        )

    def test_everySizeOfMessage(self) -> None:
        """Messages up to the server's limit arrive, in a burst of one of a few sizes; longer ones are an error."""
        pair = Pair().open()
        limit = ABOUT.max_message
        for size in (0, 1, MAX_CHUNK - 1, MAX_CHUNK, MAX_CHUNK + 1, 5 * MAX_CHUNK, limit - 1, limit):
            pair.client.say("x" * size)
            burst = pair.client.data_to_send()
            self.assertEqual(len(frames(burst)), burst_size(max(1, math.ceil(size / MAX_CHUNK))))
            pair.to_server(burst)
            message = pair.server_events[-1]
            assert isinstance(message, MessageReceived)
            self.assertEqual(len(message.text), size)
        self.assertRaises(ValueError, pair.client.say, "x" * (limit + 1))
        self.assertRaises(ValueError, pair.client.say, "你" * (limit // 3 + 1))

    def test_anyPieces(self) -> None:
        """A session works if its bytes arrive one by one, or in two pieces split anywhere."""
        pair = Pair()
        moved = True
        while moved:
            up = pair.client.data_to_send()
            for position in range(len(up)):
                pair.to_server(up[position : position + 1])
            down = pair.server.data_to_send()
            for position in range(len(down)):
                pair.to_client(down[position : position + 1])
            moved = bool(up or down)
        for position in range(2 * 532 + 1):
            pair.client.say("first" * 150)
            burst = pair.client.data_to_send()
            pair.to_server(burst[:position])
            pair.to_server(burst[position:])
            self.assertEqual(pair.server_events[-1], MessageReceived(position + 1, "first" * 150))

    def test_partiallyReadIterator(self) -> None:
        """Events that were not read from the iterator are returned by the next call."""
        pair = Pair().open()
        for text in ("a", "b", "c"):
            pair.client.say(text)
        data = pair.client.data_to_send()
        self.assertEqual(next(pair.server.receive_data(data)), MessageReceived(1, "a"))
        self.assertEqual(next(pair.server.receive_data(b"")), MessageReceived(2, "b"))
        self.assertEqual(list(pair.server.receive_data(b"")), [MessageReceived(3, "c")])

    def test_keepsNothing(self) -> None:
        """Data is not kept once it is processed; an idle session would hold its last record for hours."""
        pair = Pair().open()
        pair.client.say("hello")
        data = pair.client.data_to_send()
        before = sys.getrefcount(data)
        self.assertEqual(list(pair.server.receive_data(data)), [MessageReceived(1, "hello")])
        self.assertEqual(sys.getrefcount(data), before)

    def test_closingWhileReading(self) -> None:
        """No events follow after the caller has closed the connection."""
        pair = Pair().open()
        pair.client.say("a")
        pair.client.say("b")
        events = pair.server.receive_data(pair.client.data_to_send())
        next(events)
        pair.server.close()
        self.assertEqual(list(events), [])
        self.assertTrue(is_dead(pair.server))

    def test_faultEndsAReply(self) -> None:
        """A FAULT ends its reply, and the next message is answered."""
        pair = Pair().open()
        pair.client.say("a")
        pair.client.say("b")
        pair.pump()
        pair.server.reply(1, "好".encode()[:2], False)
        pair.server.fault(1, Fault.TIMED_OUT)
        pair.server.reply(2, b"ok", True)
        pair.pump()
        self.assertEqual(pair.client_events[-2:], [FaultReceived(1, Fault.TIMED_OUT), ReplyReceived(2, "ok", True)])

    def test_unknownFault(self) -> None:
        """A FAULT whose code is not known yet is an internal error."""
        for code, fault in (12, Fault.LIMIT_REACHED), (13, Fault.INTERNAL), (2**64 - 1, Fault.INTERNAL):
            pair = Pair().open()
            pair.client.say("a")
            pair.pump()
            pair.server._seal(RecordType.FAULT, encode(FaultReport(1, code)))
            pair.pump()
            self.assertEqual(pair.client_events[-1], FaultReceived(1, fault))

    def test_cancelAndNew(self) -> None:
        """CANCEL is sent only while the reply is incomplete; NEW has an empty payload."""
        pair = Pair().open()
        pair.client.say("a")
        pair.client.cancel(1)
        pair.client.cancel(2)
        pair.client.start_afresh()
        pair.pump()
        self.assertEqual(pair.server_events[-2:], [CancelReceived(1), NewReceived()])
        pair.server.reply(1, b"", True)
        pair.pump()
        pair.client.cancel(1)
        self.assertEqual(pair.client.data_to_send(), b"")

    def test_sendsRepliesInOrder(self) -> None:
        """The server cannot send a reply out of order."""
        pair = Pair().open()
        self.assertRaises(LocalProtocolError, pair.server.reply, 1, b"", True)
        pair.client.say("a")
        pair.pump()
        self.assertRaises(LocalProtocolError, pair.server.fault, 2, Fault.BUSY)
        pair.server.reply(1, b"", True)
        self.assertRaises(LocalProtocolError, pair.server.reply, 1, b"", True)

    def test_messagesOutOfOrder(self) -> None:
        """A message id that is not the next, and interleaved messages, abort the connection."""
        for message_id in (0, 2, 2**64 - 1):
            say = encode(Chunk(message_id, True, b""))
            self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.SAY, say)
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"a")))
        pair.pump()
        self.assertServerAborts(pair, Category.ORDER, RecordType.SAY, encode(Chunk(2, False, b"b")))
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"a")))
        pair.pump()
        self.assertServerAborts(pair, Category.ORDER, RecordType.NEW, b"")

    def test_invalidMessages(self) -> None:
        """A message beyond the server's limit, and a message or reply of invalid UTF-8, abort the connection."""
        for last in (True, False):
            pair = Pair(about=replace(ABOUT, max_message=4096)).open()
            for _ in range(16):
                pair.client._seal(RecordType.SAY, encode(Chunk(1, False, bytes(256))))
            pair.pump()
            self.assertServerAborts(pair, Category.MESSAGE, RecordType.SAY, encode(Chunk(1, last, b"x")))
        self.assertServerAborts(Pair().open(), Category.MESSAGE, RecordType.SAY, encode(Chunk(1, True, b"\xff")))
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"\xe4")))
        pair.pump()
        self.assertServerAborts(pair, Category.MESSAGE, RecordType.SAY, encode(Chunk(1, True, b"x")))
        for last in (True, False):
            pair = Pair().open()
            pair.client.say("a")
            pair.pump()
            self.assertClientAborts(pair, Category.MESSAGE, RecordType.REPLY, encode(Chunk(1, last, b"\xe4x")))

    def test_endlessReply(self) -> None:
        """A reply may have any length; the client passes it on as it comes."""
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        for _ in range(2**22 // MAX_CHUNK):
            pair.server.reply(1, b"x" * MAX_CHUNK, False)
            [event] = pair.to_client(pair.server.data_to_send())
            self.assertEqual(event, ReplyReceived(1, "x" * MAX_CHUNK, False))

    def test_emptyChunks(self) -> None:
        """Only the last chunk of a message or reply may be empty; another one aborts the connection."""
        empty = encode(Chunk(1, False, b""))
        self.assertServerAborts(Pair().open(), Category.MALFORMED, RecordType.SAY, empty)
        for begins in (False, True):
            pair = Pair().open()
            pair.client.say("a")
            pair.pump()
            if begins:
                pair.server.reply(1, b"x", False)
                pair.pump()
            self.assertRaises(LocalProtocolError, pair.server.reply, 1, b"", False)
            self.assertClientAborts(pair, Category.MALFORMED, RecordType.REPLY, empty)
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"x")))
        pair.pump()
        self.assertServerAborts(pair, Category.MALFORMED, RecordType.SAY, empty)

    def test_quota(self) -> None:
        """A message counts for the client's quota until its reply has ended, and gives back what it took."""
        pair = Pair(quota=1000).open()
        pair.client.say("a" * 400)
        pair.client.say("b" * 600)
        pair.client.say("c")
        pair.client.say("")
        pair.pump()
        self.assertEqual(
            pair.server_events[-4:],
            [MessageReceived(1, "a" * 400), MessageReceived(2, "b" * 600), MessageRefused(3), MessageReceived(4, "")],
        )
        pair.server.reply(1, b"x", False)
        pair.client.say("d")
        pair.pump()
        self.assertEqual(pair.server_events[-1], MessageRefused(5))
        pair.server.reply(1, b"", True)
        pair.client.say("e" * 400)
        pair.client.say("f")
        pair.pump()
        self.assertEqual(pair.server_events[-2:], [MessageReceived(6, "e" * 400), MessageRefused(7)])
        pair.server.fault(2, Fault.INTERNAL)
        for message_id in (3, 4, 5):
            pair.server.fault(message_id, Fault.BUSY)
        self.assertEqual(pair.quota.taken, 400)  # of the sixth message alone
        pair.client.say("g" * 600)
        pair.pump()
        self.assertEqual(pair.server_events[-1], MessageReceived(8, "g" * 600))

    def test_quotaWithinAMessage(self) -> None:
        """A message that exceeds the quota is not kept from there on, whatever is free later; its end is reported."""
        pair = Pair(quota=1000).open()
        pair.client.say("a" * 400)
        chunks = [b"b" * 300, b"b" * 300, b"c" * 300, b"c" * 300, b"\xff", b"d" * 300]
        for number, chunk in enumerate(chunks):
            pair.client._seal(RecordType.SAY, encode(Chunk(2, False, chunk)))
            pair.pump()
            self.assertEqual(pair.server.message_size, sum(map(len, chunks[: number + 1])))
            if number == 2:
                self.assertTrue(pair.quota.take(600))  # its first chunks do not count any more
                pair.quota.give_back(600)
                pair.server.reply(1, b"", True)
        pair.client._seal(RecordType.SAY, encode(Chunk(2, True, b"")))
        pair.pump()
        self.assertEqual(pair.server_events[-1], MessageRefused(2))
        self.assertTrue(pair.quota.take(1000))

    def test_tooLongForTheQuota(self) -> None:
        """A message that exceeds the quota may still not exceed the server's limit, and NEW must not come within it."""
        for kind, payload, category in (
            (RecordType.SAY, encode(Chunk(1, False, b"x" * 97)), Category.MESSAGE),
            (RecordType.NEW, b"", Category.ORDER),
        ):
            pair = Pair(about=replace(ABOUT, max_message=4096), quota=10).open()
            for _ in range(10):
                pair.client._seal(RecordType.SAY, encode(Chunk(1, False, bytes(400))))
            self.assertEqual(pair.to_server(pair.client.data_to_send()), [])
            self.assertServerAborts(pair, category, kind, payload)

    def test_closingGivesBack(self) -> None:
        """A connection that ends gives back all that its messages took, complete or not, answered or not."""
        for half in (b"", b"c" * 300):
            pair = Pair(quota=1000).open()
            pair.client.say("a" * 400)
            pair.client.say("b" * 300)
            if half:
                pair.client._seal(RecordType.SAY, encode(Chunk(3, False, half)))
            pair.pump()
            self.assertFalse(pair.quota.take(301 - len(half)))
            for _ in range(2):
                pair.server.close()
            self.assertTrue(pair.quota.take(1000))

    def test_repliesOutOfOrder(self) -> None:
        """A REPLY or FAULT for a message that was not sent, or whose reply is complete, aborts the connection."""
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.REPLY, encode(Chunk(1, True, b"")))
        fault = encode(FaultReport(1, Fault.BUSY))
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.FAULT, fault)
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        pair.pump()
        self.assertClientAborts(pair, Category.ORDER, RecordType.FAULT, fault)

    def test_cancelUnknownMessage(self) -> None:
        """A CANCEL for a message that was not sent completely aborts the connection; one that is too late does not."""
        for message_id in (0, 1):
            cancel = encode(Cancel(message_id))
            self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.CANCEL, cancel)
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"half")))
        pair.pump()
        self.assertServerAborts(pair, Category.ORDER, RecordType.CANCEL, encode(Cancel(1)))
        pair = Pair().open()
        pair.client.say("a")
        pair.client._seal(RecordType.SAY, encode(Chunk(2, False, b"half")))
        pair.client._seal(RecordType.CANCEL, encode(Cancel(1)))
        pair.client._seal(RecordType.SAY, encode(Chunk(2, True, b"")))
        pair.pump()
        self.assertEqual(pair.server_events[-2:], [CancelReceived(1), MessageReceived(2, "half")])
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        pair.client._seal(RecordType.CANCEL, encode(Cancel(1)))
        self.assertEqual(pair.to_server(pair.client.data_to_send()), [CancelReceived(1)])

    def test_unexpectedTypes(self) -> None:
        """An unknown record type, or one that only the other end may send, aborts the connection."""
        for kind in (RecordType.REPLY, RecordType.FAULT, RecordType.ABOUT, RecordType.RESULT, 13, 255):
            self.assertServerAborts(Pair().open(), Category.ORDER, kind, b"")
        client_only = (RecordType.SAY, RecordType.CANCEL, RecordType.NEW, RecordType.CALL, RecordType.RECALL)
        for kind in (*client_only, RecordType.ABOUT, 13, 255):
            self.assertClientAborts(Pair().open(), Category.ORDER, kind, b"")

    def test_emptyPayloads(self) -> None:
        """PAD, REKEY and NEW must have an empty payload."""
        for kind in (RecordType.PAD, RecordType.NEW):
            self.assertServerAborts(Pair().open(), Category.MALFORMED, kind, b"\0")
        pair = Pair().open()
        pair.server._seal(RecordType.PAD, b"")
        self.assertEqual(pair.to_client(pair.server.data_to_send()), [])
        self.assertClientAborts(pair, Category.MALFORMED, RecordType.REKEY, b"\0")

    def test_anotherSessionsRecord(self) -> None:
        """A record of another session, a repeated record and a reflected record abort the connection."""
        one, other = Pair().open(), Pair().open()
        one.client.say("a")
        other.client.say("a")
        data = one.client.data_to_send()
        self.assertAborts(other.server, data, Category.RECORD)
        one.to_server(data)
        self.assertAborts(one.server, data, Category.RECORD)
        self.assertAborts(one.client, data, Category.RECORD)


class RekeyTests(ConnectionTests):
    """REKEY during a session."""

    def test_byNumber(self) -> None:
        """Thousands of messages arrive, under several keys in each direction."""
        pair = Pair().open()
        rekeys = 0
        for number in range(1, REKEY_RECORDS + 100):
            rekeys += pair.client.rekey_due()
            pair.client.say("x")
            pair.to_server(pair.client.data_to_send())
            rekeys += pair.server.rekey_due()
            pair.server.reply(number, b"y", True)
            pair.to_client(pair.server.data_to_send())
        self.assertEqual(rekeys, 2)

    def test_byTime(self) -> None:
        """After 15 minutes a REKEY precedes the next record, and counts as part of the burst."""
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.clock.advance(901)
        self.assertTrue(pair.client.rekey_due())
        pair.client.say("b")
        data = pair.client.data_to_send()
        self.assertEqual(len(frames(data)), 2)
        pair.to_server(data)
        self.assertEqual(pair.server_events[-1], MessageReceived(2, "b"))
        pair.server.pad()
        self.assertFalse(pair.server.rekey_due())
        pair.server.pad()
        self.assertEqual(len(frames(pair.server.data_to_send())), 2)

    def test_burstsCountTheRekey(self) -> None:
        """A burst has one of its sizes, wherever in it the REKEY is, and if there is more than one."""
        for sealed in range(REKEY_RECORDS - 12, REKEY_RECORDS):
            pair = Pair().open()
            assert pair.client._sealer is not None
            assert pair.server._opener is not None
            pair.client._sealer._seq = pair.server._opener._seq = sealed
            pair.client.say("x" * MAX_CHUNK * 5)
            data = pair.client.data_to_send()
            self.assertEqual(len(frames(data)), 8)
            pair.to_server(data)
            self.assertEqual(pair.server_events[-1], MessageReceived(1, "x" * MAX_CHUNK * 5))
        pair = Pair(about=replace(ABOUT, max_message=2**24)).open()
        pair.client.say("x" * 2**24)
        data = pair.client.data_to_send()
        self.assertEqual(len(data), 46_341 * (4 + PQ.record_size))
        pair.to_server(data)
        self.assertEqual(pair.server_events[-1], MessageReceived(1, "x" * 2**24))

    def test_fast(self) -> None:
        """A client that sends as fast as it can is not taken for one that floods, however many REKEYs that takes."""
        pair = Pair().open()
        assert pair.client._sealer is not None
        assert pair.server._opener is not None
        for number in range(1, 101):
            pair.client._sealer._seq = pair.server._opener._seq = REKEY_RECORDS - 2
            self.assertFalse(pair.client.rekey_due())
            pair.client.say("xy" * MAX_CHUNK)
            pair.to_server(pair.client.data_to_send())
            self.assertEqual(pair.server_events[-1], MessageReceived(number, "xy" * MAX_CHUNK))

    def test_flood(self) -> None:
        """More than eight early REKEYs at once abort the connection."""
        pair = Pair().open()
        for _ in range(8):
            pair.client._seal(RecordType.REKEY, b"")
        self.assertEqual(pair.to_server(pair.client.data_to_send()), [])
        self.assertServerAborts(pair, Category.REKEY, RecordType.REKEY, b"")


class EndTests(ConnectionTests):
    """GOODBYE, and the end of the stream without it."""

    def test_goodbyeBothWays(self) -> None:
        """Each end sends GOODBYE once, and nothing after it."""
        pair = Pair().open()
        pair.client.goodbye(Reason.LEAVING, 0)
        pair.pump()
        self.assertEqual(pair.server_events[-1], GoodbyeReceived(Reason.LEAVING, 0))
        pair.server.goodbye(Reason.LEAVING, 0)
        pair.pump()
        self.assertEqual(pair.client_events[-1], GoodbyeReceived(Reason.LEAVING, 0))
        self.assertRaises(LocalProtocolError, pair.client.say, "more")
        self.assertRaises(LocalProtocolError, pair.server.goodbye, Reason.LEAVING, 0)
        for end in (pair.client, pair.server):
            end.receive_end()
            self.assertTrue(is_dead(end))
            end.receive_end()

    def test_dataAfterGoodbye(self) -> None:
        """Any record after GOODBYE aborts the connection."""
        for kind, payload in ((RecordType.GOODBYE, b"\x92\x00\x00"), (RecordType.PAD, b"")):
            pair = Pair().open()
            pair.client.goodbye(Reason.LEAVING, 0)
            pair.client._seal(kind, payload)
            self.assertAborts(pair.server, pair.client.data_to_send(), Category.ORDER)

    def test_cut(self) -> None:
        """The end of the stream without GOODBYE is an error, in every state."""
        fresh, half, opened = Pair(), Pair(), Pair().open()
        half.to_server(half.client.data_to_send())
        list(half.client.receive_data(half.server.data_to_send()))
        broken = Pair().open()
        broken.client.say("x" * 2000)
        list(broken.server.receive_data(broken.client.data_to_send()[:700]))
        ends: list[Connection] = [fresh.client, fresh.server, half.client, half.server, opened.client, opened.server]
        for end in (*ends, broken.server):
            error = self.assertRaises(RemoteProtocolError, end.receive_end)
            self.assertEqual(error.category, Category.CUT)
            self.assertTrue(is_dead(end))

    def test_reprs(self) -> None:
        """The repr of an event does not contain the text."""
        self.assertEqual(repr(MessageReceived(1, "secret")), "<MessageReceived>")
