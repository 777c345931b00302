"""Two real ends over memory: order, size, rekeying, the end, and peers that do not keep the protocol."""

from hypothesis import given
from hypothesis import strategies as st
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
    NewReceived,
    ReplyReceived,
    ServerProved,
    WelcomeReceived,
)
from securechat.wire.messages import MAX_MESSAGE, About, Cancel, Chunk, FaultReport, Reason, encode
from securechat.wire.records import REKEY_RECORDS, RecordType
from tests.harness.pair import PQ, RSA, USER_KEY, Pair, frames, is_dead


class ConnectionTests(SynchronousTestCase):
    """What every test here needs."""

    def assertAborts(self, end: Connection, data: bytes, category: Category) -> None:
        """`data` ends the connection, with this category and no answer."""
        error = self.assertRaises(RemoteProtocolError, list, end.receive_data(data))
        self.assertEqual(error.category, category)
        self.assertTrue(is_dead(end))

    def assertServerAborts(self, pair: Pair, category: Category, kind: int, payload: bytes) -> None:
        """A record that the client seals as it likes ends the connection at the server."""
        pair.client._seal(kind, payload)  # type: ignore[arg-type]
        self.assertAborts(pair.server, pair.client.data_to_send(), category)

    def assertClientAborts(self, pair: Pair, category: Category, kind: int, payload: bytes) -> None:
        """A record that the server seals as it likes ends the connection at the client."""
        pair.server._seal(kind, payload)  # type: ignore[arg-type]
        self.assertAborts(pair.client, pair.server.data_to_send(), category)


def frame(content: bytes) -> bytes:
    """A content of less than 256 bytes with its length before it."""
    return bytes([0, 0, 0, len(content)]) + content


class HandshakeTests(ConnectionTests):
    """From the Hello to ABOUT."""

    waiting = Pair()

    def test_events(self) -> None:
        """Both ends tell what happened in the order of the specification, in both suites, with a key and without."""
        for suite in (PQ, RSA):
            for user_key in (None, USER_KEY):
                pair = Pair(suite, user_key=user_key).open()
                self.assertEqual([type(event) for event in pair.server_events], [HelloReceived, ClientProved])
                self.assertEqual(
                    [type(event) for event in pair.client_events], [WelcomeReceived, ServerProved, Admitted]
                )
                self.assertEqual(pair.client_events[-1], Admitted("", "echo", "test"))
                self.assertIs(pair.client.state, State.OPEN)
                self.assertIs(pair.server.state, State.OPEN)

    def test_keysAreForgotten(self) -> None:
        """After the handshake neither end holds what it was made with."""
        pair = Pair().open()
        self.assertIsNone(pair.client._handshake)
        self.assertIsNone(pair.server._handshake)

    def test_aboutIsCut(self) -> None:
        """A name of more than 64 bytes is cut between characters."""
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        list(pair.server.receive_data(pair.client.data_to_send()))
        pair.server.admit("a" + "你" * 40, "r", "s")
        pair.to_client(pair.server.data_to_send())
        about = pair.client_events[-1]
        assert isinstance(about, Admitted)
        self.assertEqual(about.user, "a" + "你" * 21)

    def test_aboutThatIsTooLong(self) -> None:
        """A client takes no more than 64 bytes of each name."""
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        list(pair.server.receive_data(pair.client.data_to_send()))
        self.assertClientAborts(pair, Category.MALFORMED, RecordType.ABOUT, encode(About("a" * 65, "", "")))

    def test_lengths(self) -> None:
        """A frame has between 1 and 2048 bytes in the handshake; the rest is not waited for."""
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
        """Any bytes, in any pieces, wait for more or end the connection; no event comes of them and no answer."""
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
        """A record has exactly its suite's size, from the first on."""
        for suite, size in ((PQ, 528), (RSA, 780)):
            for wrong in (0, size - 1, size + 1, 528 + 780 - size):
                pair = Pair(suite)
                pair.to_server(pair.client.data_to_send())
                self.assertAborts(pair.server, wrong.to_bytes(4, "big"), Category.FRAMING)
                welcome = frames(pair.server.data_to_send())
                self.assertEqual(welcome, [])
                opened = Pair(suite).open()
                self.assertAborts(opened.client, wrong.to_bytes(4, "big"), Category.FRAMING)

    def test_nothingBeforeTheClientProved(self) -> None:
        """Whatever the server sends between its proof and the client's ends the connection."""
        pair = Pair(user_key=USER_KEY)
        pair.to_server(pair.client.data_to_send())
        list(pair.client.receive_data(pair.server.data_to_send()))
        self.assertIs(pair.client.state, State.SIGNING)
        self.assertAborts(pair.client, b"\0", Category.ORDER)

    def test_firstRecords(self) -> None:
        """The first record of each side is its PROOF, and the server's next is ABOUT."""
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        welcome, _proof = frames(pair.server.data_to_send())
        pair.to_client(welcome)
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        pair.to_client(frames(pair.server.data_to_send())[0])
        pair.client._seal(RecordType.SAY, encode(Chunk(1, True, b"too early")))
        self.assertAborts(pair.server, pair.client.data_to_send(), Category.ORDER)
        pair = Pair()
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        list(pair.server.receive_data(pair.client.data_to_send()))
        self.assertClientAborts(pair, Category.ORDER, RecordType.PAD, b"")

    def test_secondProof(self) -> None:
        """A second PROOF ends the connection, either way."""
        self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.PROOF, b"")
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.PROOF, b"")

    def test_proofTwice(self) -> None:
        """Our own side proves itself once, and not before it was asked."""
        pair = Pair()
        self.assertRaises(LocalProtocolError, pair.client.prove, b"")
        pair.open()
        self.assertRaises(LocalProtocolError, pair.client.prove, b"")

    def test_nothingIsSaidBeforeTheHandshake(self) -> None:
        """Messages, pads and goodbyes wait for the handshake."""
        pair = Pair()
        for early in (lambda: pair.client.say("x"), pair.client.pad, pair.client.start_afresh):
            self.assertRaises(LocalProtocolError, early)
        self.assertRaises(LocalProtocolError, pair.server.goodbye, Reason.LEAVING, 0)
        self.assertRaises(LocalProtocolError, pair.client.rekey_due)


class ChannelTests(ConnectionTests):
    """Messages and replies."""

    def test_aMessageAndItsReply(self) -> None:
        """What is said comes whole, and so does the reply, piece by piece, cut anywhere in a character."""
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
        """Messages up to 32 KiB come whole, in a burst whose records are a power of two; longer ones are not sent."""
        pair = Pair().open()
        for size in (0, 1, MAX_CHUNK - 1, MAX_CHUNK, MAX_CHUNK + 1, 5 * MAX_CHUNK, MAX_MESSAGE - 1, MAX_MESSAGE):
            pair.client.say("x" * size)
            burst = pair.client.data_to_send()
            count = len(frames(burst))
            self.assertEqual(count & (count - 1), 0)
            self.assertLessEqual(count, 128)
            pair.to_server(burst)
            message = pair.server_events[-1]
            assert isinstance(message, MessageReceived)
            self.assertEqual(len(message.text), size)
        self.assertRaises(ValueError, pair.client.say, "x" * (MAX_MESSAGE + 1))
        self.assertRaises(ValueError, pair.client.say, "你" * (MAX_MESSAGE // 3 + 1))

    def test_anyPieces(self) -> None:
        """A session that comes one byte at a time, or cut in two anywhere, is the same session."""
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

    def test_theIteratorMayBeLeft(self) -> None:
        """What is not read from the iterator waits for the next call."""
        pair = Pair().open()
        for text in ("a", "b", "c"):
            pair.client.say(text)
        data = pair.client.data_to_send()
        self.assertEqual(next(pair.server.receive_data(data)), MessageReceived(1, "a"))
        self.assertEqual(next(pair.server.receive_data(b"")), MessageReceived(2, "b"))
        self.assertEqual(list(pair.server.receive_data(b"")), [MessageReceived(3, "c")])

    def test_closingWhileReading(self) -> None:
        """A caller that closes in the middle hears nothing more."""
        pair = Pair().open()
        pair.client.say("a")
        pair.client.say("b")
        events = pair.server.receive_data(pair.client.data_to_send())
        next(events)
        pair.server.close()
        self.assertEqual(list(events), [])
        self.assertTrue(is_dead(pair.server))

    def test_faultEndsAReply(self) -> None:
        """A fault ends its reply; the next message is answered as if nothing had been."""
        pair = Pair().open()
        pair.client.say("a")
        pair.client.say("b")
        pair.pump()
        pair.server.reply(1, "好".encode()[:2], False)
        pair.server.fault(1, Fault.TIMED_OUT)
        pair.server.reply(2, b"ok", True)
        pair.pump()
        self.assertEqual(pair.client_events[-2:], [FaultReceived(1, Fault.TIMED_OUT), ReplyReceived(2, "ok", True)])

    def test_cancelAndNew(self) -> None:
        """A reply that has not ended can be cancelled, once it has ended nothing is sent; NEW carries nothing."""
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

    def test_ourOwnOrder(self) -> None:
        """Replies have the id of the message whose turn it is."""
        pair = Pair().open()
        self.assertRaises(LocalProtocolError, pair.server.reply, 1, b"", True)
        pair.client.say("a")
        pair.pump()
        self.assertRaises(LocalProtocolError, pair.server.fault, 2, Fault.BUSY)
        pair.server.reply(1, b"", True)
        self.assertRaises(LocalProtocolError, pair.server.reply, 1, b"", True)

    def test_saysOutOfTurn(self) -> None:
        """An id that is not the next, or two messages mixed, ends the connection."""
        for message_id in (0, 2, 2**64 - 1):
            say = encode(Chunk(message_id, True, b""))
            self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.SAY, say)
        pair = Pair().open()
        pair.client._seal(RecordType.SAY, encode(Chunk(1, False, b"a")))
        pair.pump()
        self.assertServerAborts(pair, Category.ORDER, RecordType.SAY, encode(Chunk(2, False, b"b")))
        for chunk in (b"a", b""):
            pair = Pair().open()
            pair.client._seal(RecordType.SAY, encode(Chunk(1, False, chunk)))
            pair.pump()
            self.assertServerAborts(pair, Category.ORDER, RecordType.NEW, b"")

    def test_messagesThatAreNone(self) -> None:
        """More than 32 KiB, or what is not UTF-8, ends the connection, either way."""
        pair = Pair().open()
        for _ in range(MAX_MESSAGE // 256):
            pair.client._seal(RecordType.SAY, encode(Chunk(1, False, bytes(256))))
        pair.pump()
        self.assertServerAborts(pair, Category.MESSAGE, RecordType.SAY, encode(Chunk(1, True, b"x")))
        self.assertServerAborts(Pair().open(), Category.MESSAGE, RecordType.SAY, encode(Chunk(1, True, b"\xff")))
        for replies in ([Chunk(1, True, b"\xe4")], [Chunk(1, False, bytes(490))] * 67):
            pair = Pair().open()
            pair.client.say("a")
            pair.pump()
            *first, last = replies
            for reply in first:
                pair.server._seal(RecordType.REPLY, encode(reply))
            pair.to_client(pair.server.data_to_send())
            self.assertClientAborts(pair, Category.MESSAGE, RecordType.REPLY, encode(last))

    def test_repliesOutOfTurn(self) -> None:
        """A reply or fault to what was never said, or was answered, ends the connection."""
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.REPLY, encode(Chunk(1, True, b"")))
        fault = encode(FaultReport(1, Fault.BUSY))
        self.assertClientAborts(Pair().open(), Category.ORDER, RecordType.FAULT, fault)
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        pair.pump()
        self.assertClientAborts(pair, Category.ORDER, RecordType.FAULT, fault)

    def test_cancelOfNothing(self) -> None:
        """A cancel of what was never said ends the connection; one that comes late does not."""
        for message_id in (0, 1):
            cancel = encode(Cancel(message_id))
            self.assertServerAborts(Pair().open(), Category.ORDER, RecordType.CANCEL, cancel)
        pair = Pair().open()
        pair.client.say("a")
        pair.pump()
        pair.server.reply(1, b"", True)
        pair.client._seal(RecordType.CANCEL, encode(Cancel(1)))
        self.assertEqual(pair.to_server(pair.client.data_to_send()), [CancelReceived(1)])

    def test_typesOfTheWrongSide(self) -> None:
        """A type that is unknown, or the other side's to send, ends the connection."""
        for kind in (RecordType.REPLY, RecordType.FAULT, RecordType.ABOUT, 10, 255):
            self.assertServerAborts(Pair().open(), Category.ORDER, kind, b"")
        for kind in (RecordType.SAY, RecordType.CANCEL, RecordType.NEW, RecordType.ABOUT, 10, 255):
            self.assertClientAborts(Pair().open(), Category.ORDER, kind, b"")

    def test_emptyMeansEmpty(self) -> None:
        """PAD, REKEY and NEW carry nothing."""
        for kind in (RecordType.PAD, RecordType.NEW):
            self.assertServerAborts(Pair().open(), Category.MALFORMED, kind, b"\0")
        pair = Pair().open()
        pair.server._seal(RecordType.PAD, b"")
        self.assertEqual(pair.to_client(pair.server.data_to_send()), [])
        self.assertClientAborts(pair, Category.MALFORMED, RecordType.REKEY, b"\0")

    def test_anotherSessionsRecord(self) -> None:
        """A record of another session, a record again, and one's own record sent back end the connection."""
        one, other = Pair().open(), Pair().open()
        one.client.say("a")
        other.client.say("a")
        data = one.client.data_to_send()
        self.assertAborts(other.server, data, Category.RECORD)
        one.to_server(data)
        self.assertAborts(one.server, data, Category.RECORD)
        self.assertAborts(one.client, data, Category.RECORD)


class RekeyTests(ConnectionTests):
    """Keys move on, and nobody who talks notices."""

    def test_byNumber(self) -> None:
        """Thousands of messages go through several keys each way."""
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
        """After 15 minutes the next record comes with a REKEY before it, counted into the burst."""
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

    def test_burstsStayPowersOfTwo(self) -> None:
        """Wherever in a burst the REKEY falls, the burst is a power of two."""
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

    def test_flood(self) -> None:
        """More than eight REKEYs at once end the connection."""
        pair = Pair().open()
        for _ in range(8):
            pair.client._seal(RecordType.REKEY, b"")
        self.assertEqual(pair.to_server(pair.client.data_to_send()), [])
        self.assertServerAborts(pair, Category.REKEY, RecordType.REKEY, b"")


class EndTests(ConnectionTests):
    """GOODBYE, and the stream's end without it."""

    def test_goodbyeBothWays(self) -> None:
        """Each side says it once; then nothing more can be said."""
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
        """Another GOODBYE, or anything else after it, ends the connection."""
        for kind, payload in ((RecordType.GOODBYE, b"\x92\x00\x00"), (RecordType.PAD, b"")):
            pair = Pair().open()
            pair.client.goodbye(Reason.LEAVING, 0)
            pair.client._seal(kind, payload)
            self.assertAborts(pair.server, pair.client.data_to_send(), Category.ORDER)

    def test_cut(self) -> None:
        """The stream's end without GOODBYE is told from one with it, in every state."""
        fresh, half, opened = Pair(), Pair(), Pair().open()
        half.to_server(half.client.data_to_send())
        list(half.client.receive_data(half.server.data_to_send()))
        ends: list[Connection] = [fresh.client, fresh.server, half.client, half.server, opened.client, opened.server]
        for end in ends:
            error = self.assertRaises(RemoteProtocolError, end.receive_end)
            self.assertEqual(error.category, Category.CUT)
            self.assertTrue(is_dead(end))

    def test_reprs(self) -> None:
        """An event does not show what was said."""
        self.assertEqual(repr(MessageReceived(1, "secret")), "<MessageReceived>")
