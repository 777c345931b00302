"""The next host key: its announcement in ABOUT, the question and the answer."""

from dataclasses import replace as replace_identity

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.errors import AuthenticationError, Category, LocalProtocolError, RemoteProtocolError
from securechat.ssh import keys
from securechat.wire.events import Admitted, HostKeyAsked, HostKeyReceived, MessageReceived, NewReceived, RecallReceived
from securechat.wire.host_keys import NAMESPACE, HostKeys, announce, check_successor, hint_of, read_announcement
from securechat.wire.messages import MAX_ABOUT, HostKeyMessage, encode
from securechat.wire.records import RecordType
from tests.harness.pair import ABOUT, HOST_KEY, PQ, Pair, frames, identity
from tests.independent import host_keys as theirs

NEXT = keys.SigningKey.generate()
HINT = hint_of(NEXT.blob)
IDENTITY = replace_identity(identity(), next_host_key=NEXT)
ANNOUNCED = replace(ABOUT, software=announce("test", NEXT.blob), api=True)
SESSION_ID = b"s" * 16
PROOF = HostKeys(HOST_KEY, NEXT).prove(SESSION_ID)


class AnnouncementTests(SynchronousTestCase):
    """The hint in the text about the server's software."""

    def test_hint(self) -> None:
        """The hint is the beginning of the fingerprint, and the same to the independent implementation."""
        self.assertEqual(keys.fingerprint(NEXT.blob)[: 7 + 16], f"SHA256:{HINT}")
        software = announce("securechat/1.0", NEXT.blob)
        self.assertEqual(software, theirs.announced("securechat/1.0", NEXT.blob))
        self.assertEqual(read_announcement(software), ("securechat/1.0", HINT))
        self.assertEqual(theirs.hint_in(software), HINT)

    def test_length(self) -> None:
        """The text with the hint has at most 64 bytes, whatever is before it."""
        for software, kept in (("x" * 64, "x" * 33), ("é" * 20, "é" * 16), ("", "")):
            announced = announce(software, NEXT.blob)
            self.assertLessEqual(len(announced.encode()), MAX_ABOUT)
            self.assertEqual(read_announcement(announced), (kept, HINT))

    def test_other(self) -> None:
        """Text without a hint is left as it is."""
        for software in ("", "test", f" next-host-key={HINT}x", f"a next-host-key={HINT[1:]}", f"next-host-key={HINT}"):
            self.assertEqual(read_announcement(software), (software, ""))
            self.assertEqual(theirs.hint_in(software), "")

    @given(st.text(max_size=40), st.sampled_from(["", f" next-host-key={HINT}", " next-host-key=", "\n"]))
    def test_same(self, before: str, after: str) -> None:
        """Both implementations find the same hint in any text."""
        software, hint = read_announcement(before + after)
        self.assertEqual(theirs.hint_in(before + after), hint)
        self.assertEqual(software + (f" next-host-key={hint}" if hint else ""), before + after)


class ProofTests(SynchronousTestCase):
    """The signatures."""

    def test_good(self) -> None:
        """A successor that both keys have signed in this session is accepted by both implementations."""
        self.assertEqual(check_successor(PROOF, SESSION_ID, HOST_KEY.blob, HINT), NEXT.blob)
        fields = (PROOF.host_key, PROOF.present_signature, PROOF.successor_signature)
        self.assertEqual(theirs.check(fields, SESSION_ID, HOST_KEY.blob, HINT), NEXT.blob)

    def test_signatures(self) -> None:
        """Another session, another key, a missing signature, and signatures in the wrong place are refused."""
        other = keys.SigningKey.generate()
        for message, session_id, present in (
            (PROOF, b"t" * 16, HOST_KEY.blob),
            (PROOF, SESSION_ID, other.blob),
            (replace(PROOF, present_signature=bytes(64)), SESSION_ID, HOST_KEY.blob),
            (replace(PROOF, successor_signature=bytes(64)), SESSION_ID, HOST_KEY.blob),
            (replace(PROOF, successor_signature=PROOF.present_signature), SESSION_ID, HOST_KEY.blob),
            (replace(PROOF, present_signature=PROOF.successor_signature), SESSION_ID, HOST_KEY.blob),
        ):
            error = self.assertRaises(AuthenticationError, check_successor, message, session_id, present, HINT)
            self.assertEqual(error.category, Category.PROOF)

    def test_namespace(self) -> None:
        """A signature of the same data for another purpose is refused."""
        data = keys.signed_data(NAMESPACE, b"x").replace(NAMESPACE, b"securechat-v1-server-host-k")
        forged = replace(PROOF, present_signature=HOST_KEY.sign(data))
        self.assertRaises(AuthenticationError, check_successor, forged, SESSION_ID, HOST_KEY.blob, HINT)

    def test_keys(self) -> None:
        """A key that is not acceptable, is the present one or was not announced is refused."""
        small = HOST_KEY.blob[:19] + bytes(32)
        for blob, hint in (
            (small, hint_of(small)),
            (NEXT.blob[:-1], hint_of(NEXT.blob[:-1])),
            (b"", hint_of(b"")),
            (HOST_KEY.blob, hint_of(HOST_KEY.blob)),
            (NEXT.blob, hint_of(HOST_KEY.blob)),
        ):
            message = replace(PROOF, host_key=blob)
            error = self.assertRaises(AuthenticationError, check_successor, message, SESSION_ID, HOST_KEY.blob, hint)
            self.assertEqual(error.category, Category.HOST_KEY)

    def test_everyBit(self) -> None:
        """No bit of the message can be changed."""
        for field in PROOF.__struct_fields__:
            value = getattr(PROOF, field)
            for bit in range(8 * len(value)):
                changed = bytearray(value)
                changed[bit // 8] ^= 1 << bit % 8
                message = replace(PROOF, **{field: bytes(changed)})
                self.assertRaises(AuthenticationError, check_successor, message, SESSION_ID, HOST_KEY.blob, HINT)


class SessionTests(SynchronousTestCase):
    """Connections."""

    def open(self) -> Pair:
        self.pair = Pair(server_identity=IDENTITY, about=ANNOUNCED).open()
        self.pair.server_events.clear()
        self.pair.client_events.clear()
        return self.pair

    def assertServerAborts(self, category: Category, *records: tuple[RecordType, bytes]) -> None:
        for kind, payload in records:
            self.pair.client._seal(kind, payload)
        error = self.assertRaises(RemoteProtocolError, self.pair.to_server, self.pair.client.data_to_send())
        self.assertEqual(error.category, category)

    def assertClientAborts(self, category: Category, payload: bytes) -> None:
        self.pair.server._seal(RecordType.HOSTKEY, payload)
        error = self.assertRaises(RemoteProtocolError, self.pair.to_client, self.pair.server.data_to_send())
        self.assertEqual(error.category, category)

    def test_asked(self) -> None:
        """The question leaves with the first message, in one burst, and the answer tells the key."""
        pair = Pair(server_identity=IDENTITY, about=ANNOUNCED).open()
        admitted = pair.client_events[-1]
        assert isinstance(admitted, Admitted)
        self.assertEqual((admitted.software, admitted.next_host_key), ("test", HINT))
        pair.client.ask_host_key()
        self.assertEqual(pair.client.data_to_send(), b"")
        pair.client.say("hi")
        burst = pair.client.data_to_send()
        self.assertEqual(len(frames(burst)), 2)
        self.assertEqual(pair.to_server(burst), [HostKeyAsked(), MessageReceived(1, "hi")])
        self.assertTrue(pair.server.owes_host_key)
        pair.server.send_host_key()
        answer = pair.server.data_to_send()
        self.assertEqual(len(frames(answer)), 1)
        self.assertEqual(pair.to_client(answer), [HostKeyReceived(HOST_KEY.blob, NEXT.blob)])
        self.assertFalse(pair.server.owes_host_key)
        self.assertRaises(LocalProtocolError, pair.server.send_host_key)
        pair.client.say("again")
        self.assertEqual(len(frames(pair.client.data_to_send())), 1)

    def test_bursts(self) -> None:
        """The question is part of the burst of a request, or of a message with recalled turns, and comes first."""
        pair = self.open()
        pair.client.ask_host_key()
        pair.client.call("models", b"")
        burst = pair.client.data_to_send()
        self.assertEqual(len(frames(burst)), 128)
        self.assertIsInstance(pair.to_server(burst)[0], HostKeyAsked)
        pair = self.open()
        pair.client.ask_host_key()
        pair.client.say("x", [Turn(Speaker.USER, "a")])
        burst = pair.client.data_to_send()
        self.assertEqual(len(frames(burst)), 4)
        kinds = [type(event) for event in pair.to_server(burst)]
        self.assertEqual(kinds, [HostKeyAsked, RecallReceived, MessageReceived])

    def test_notAnnounced(self) -> None:
        """A client cannot request a key that was not announced, or after its first message; such a request aborts."""
        self.pair = pair = Pair().open()
        self.assertRaises(LocalProtocolError, pair.client.ask_host_key)
        self.assertRaises(LocalProtocolError, pair.server.send_host_key)
        self.assertServerAborts(Category.ORDER, (RecordType.HOSTKEY, b""))
        pair = self.open()
        self.assertRaises(LocalProtocolError, pair.server.send_host_key)
        pair.client.say("hi")
        self.assertRaises(LocalProtocolError, pair.client.ask_host_key)

    def test_questions(self) -> None:
        """A question has no payload, is asked once, and not within a message or a RECALL."""
        say, new, host_key = (
            (RecordType.SAY, b"\x93\x01\xc2\xc4\x01x"),
            (RecordType.NEW, b""),
            (RecordType.HOSTKEY, b""),
        )
        self.open()
        self.assertServerAborts(Category.MALFORMED, (RecordType.HOSTKEY, b"\x90"))
        self.open()
        self.assertServerAborts(Category.ORDER, host_key, host_key)
        self.open()
        self.assertServerAborts(Category.ORDER, say, host_key)
        recall = (RecordType.RECALL, b"\x92\xc2\xc4\x01\x90"), (RecordType.RECALL, b"\x92\xc3\xc4\x01\x90")
        for first in recall:
            self.open()
            self.assertServerAborts(Category.ORDER, first, host_key)
        pair = self.open()
        for kind, payload in (new, host_key):
            pair.client._seal(kind, payload)
        self.assertEqual(pair.to_server(pair.client.data_to_send()), [NewReceived(), HostKeyAsked()])
        pair.server.send_host_key()
        self.assertServerAborts(Category.ORDER, host_key)

    def test_answers(self) -> None:
        """An answer that was not asked for, comes twice, or is not valid aborts."""
        good, other = HostKeys(HOST_KEY, NEXT), HostKeys(HOST_KEY, keys.SigningKey.generate())
        self.open()
        self.assertClientAborts(Category.ORDER, encode(PROOF))
        for make, category in (
            (lambda session_id: encode(PROOF), Category.PROOF),  # of another session
            (lambda session_id: b"", Category.MALFORMED),
            (lambda session_id: encode(["x", b"", b""]), Category.MALFORMED),
            (
                lambda session_id: encode(other.prove(session_id)),
                Category.HOST_KEY,
            ),
        ):
            pair = self.open()
            pair.client.ask_host_key()
            pair.client.say("hi")
            pair.pump()
            self.assertClientAborts(category, make(pair.client._session_id))
        pair = self.open()
        pair.client.ask_host_key()
        pair.client.say("hi")
        pair.pump()
        pair.server.send_host_key()
        pair.pump()
        self.assertClientAborts(Category.ORDER, encode(good.prove(pair.client._session_id)))

    def test_everySession(self) -> None:
        """Each session has an id of its own, so that an answer is of no use in another."""
        ids = set()
        for _number in range(3):
            pair = self.open()
            pair.client.ask_host_key()
            pair.client.say("hi")
            pair.pump()
            self.assertEqual(pair.client._session_id, pair.server._session_id)
            ids.add(pair.client._session_id)
        self.assertEqual({len(session_id) for session_id in ids}, {16})
        self.assertEqual(len(ids), 3)

    def test_oldPeers(self) -> None:
        """A client that does not ask has the same session as without the announcement."""
        lengths = []
        for about, server_identity in ((ABOUT, identity()), (replace(ANNOUNCED, api=False), IDENTITY)):
            pair = Pair(PQ, about=about, server_identity=server_identity).open()
            pair.client.say("hi")
            up = pair.client.data_to_send()
            pair.to_server(up)
            pair.server.reply(1, b"ho", True)
            down = pair.server.data_to_send()
            pair.to_client(down)
            lengths.append((len(up), len(down)))
        self.assertEqual(lengths[0], lengths[1])

    def test_repr(self) -> None:
        """Nothing of the keys is in a repr."""
        for value in (PROOF, HostKeys(HOST_KEY, NEXT), HostKeyReceived(HOST_KEY.blob, NEXT.blob)):
            self.assertNotIn("ssh-ed25519", repr(value))
        self.assertEqual(repr(HostKeyMessage(b"", bytes(64), bytes(64))), "<HostKeyMessage>")
