"""Every bit of the handshake and of one record of each type is authenticated; a cut handshake yields nothing."""

import copy
import copyreg
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import Connection
from securechat.wire.events import Admitted
from securechat.wire.messages import Reason
from securechat.wire.records import RecordType
from securechat.wire.suites import Suite
from tests.harness.pair import ABOUT, PQ, RSA, USER_KEY, Pair, frames, is_dead

# Copies of a connection can share this cipher, which has no state, and which `copy` cannot copy.
copyreg.pickle(ChaCha20Poly1305, lambda cipher: (lambda: cipher, ()))

LENGTH_BITS = 32  # the first bits of a frame are its length


def same_client(pair: Pair) -> ClientConnection:
    """A client that has just sent the same Hello as the pair's client."""
    client = pair.same_client()
    client.data_to_send()
    return client


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """`data` with each of its bits flipped in turn."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 0x80 >> bit % 8
        yield bit, bytes(changed)


class FlipTests(SynchronousTestCase):
    """Flipped bits and cut frames."""

    def assertNothingAccepted(self, end: Connection, data: bytes) -> Category | None:
        """`data` causes no event and no answer: it aborts the connection, or is an incomplete frame."""
        try:
            events = list(end.receive_data(data))
        except RemoteProtocolError as error:
            self.assertTrue(is_dead(end))
            return error.category
        self.assertEqual(events, [])
        self.assertEqual(end.data_to_send(), b"")
        return None

    def check(self, make: Callable[[], tuple[Connection, bytes]]) -> None:
        """`make` returns an end and a frame that it would accept, anew for each bit."""
        end, frame = make()
        self.assertNotEqual(list(end.receive_data(frame)), [])
        size = len(frame) * 8
        for bit in range(size):
            end, frame = make()
            changed = bytearray(frame)
            changed[bit // 8] ^= 0x80 >> bit % 8
            category = self.assertNothingAccepted(end, bytes(changed))
            if category is None:
                self.assertLess(bit, LENGTH_BITS)  # only a changed length can leave the end waiting

    def check_hello(self, suite: Suite) -> None:
        """The server cannot detect a changed nonce, but the client cannot open the Welcome that answers it."""
        pair = Pair(suite)
        hello = pair.client.data_to_send()
        for bit, changed in flips(hello):
            server = Pair.server_alone()
            try:
                events = list(server.receive_data(changed))
            except RemoteProtocolError:
                self.assertTrue(is_dead(server))
                continue
            if events:
                welcome = frames(server.data_to_send())[0]
                client = same_client(pair)
                error = self.assertRaises(RemoteProtocolError, list, client.receive_data(welcome))
                self.assertIn(error.category, (Category.SEAL, Category.SUITE))
            else:
                self.assertLess(bit, LENGTH_BITS)
                self.assertEqual(server.data_to_send(), b"")

    def check_welcome(self, suite: Suite) -> None:
        first = Pair(suite)
        first.to_server(first.client.data_to_send())
        welcome = frames(first.server.data_to_send())[0]
        self.check(lambda: (same_client(first), welcome))

    def check_proofs(self, suite: Suite) -> None:
        pair = Pair(suite, user_key=USER_KEY)
        pair.to_server(pair.client.data_to_send())
        welcome, server_proof = frames(pair.server.data_to_send())
        pair.to_client(welcome)
        self.check(lambda: (copy.deepcopy(pair.client), server_proof))
        pair.to_client(server_proof)
        client_proof = pair.client.data_to_send()
        self.check(lambda: (copy.deepcopy(pair.server), client_proof))

    def check_about(self, suite: Suite) -> None:
        """A record that does not open does not change the client, which accepts the right one after all."""
        pair = Pair(suite)
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        pair.to_server(pair.client.data_to_send())
        about = pair.server.data_to_send()
        opener = pair.client._opener
        assert opener is not None
        for _bit, changed in flips(about[4:]):
            error = self.assertRaises(RemoteProtocolError, opener.open, changed)
            self.assertEqual(error.category, Category.RECORD)
        self.assertIsInstance(pair.to_client(about)[0], Admitted)

    def check_records(self, suite: Suite) -> None:
        """A record that does not open does not change the receiver, so one session serves for all bits."""
        pair = Pair(suite, about=replace(ABOUT, api=True)).open()

        def rekey() -> None:
            pair.clock.advance(901)
            pair.server.pad()

        def call() -> None:
            """The first record of a burst stands for all; the others are delivered as they are."""
            pair.client.call("models", b"")
            burst = frames(pair.client.data_to_send())
            pair.client._out.append(burst[0])
            rest.append(b"".join(burst[1:]))

        rest: list[bytes] = []
        kinds: list[tuple[Callable[[], object], Connection, Connection]] = [
            (lambda: pair.client._seal(RecordType.RECALL, b"\x92\xc3\xc4\x01\x90"), pair.client, pair.server),
            (lambda: pair.client.say("x"), pair.client, pair.server),
            (pair.client.pad, pair.client, pair.server),
            (lambda: pair.client.cancel(1), pair.client, pair.server),
            (pair.client.start_afresh, pair.client, pair.server),
            (lambda: pair.server.reply(1, b"x", False), pair.server, pair.client),
            (lambda: pair.server.fault(1, Fault.BUSY), pair.server, pair.client),
            (call, pair.client, pair.server),
            (lambda: pair.server.result(2, b"\x94", False), pair.server, pair.client),
            (pair.server.pad, pair.server, pair.client),
            (rekey, pair.server, pair.client),
            (lambda: pair.client.goodbye(Reason.LEAVING, 0), pair.client, pair.server),
        ]
        for send, sender, receiver in kinds:
            send()
            frame = sender.data_to_send()
            opener = receiver._opener
            assert opener is not None
            for _bit, changed in flips(frame[4:]):
                error = self.assertRaises(RemoteProtocolError, opener.open, changed)
                self.assertEqual(error.category, Category.RECORD)
            list(receiver.receive_data(frame + b"".join(rest)))
            rest.clear()

    def test_helloPq(self) -> None:
        """Every bit of a Hello, suite PQ."""
        self.check_hello(PQ)

    def test_helloRsa(self) -> None:
        """Every bit of a Hello, suite RSA."""
        self.check_hello(RSA)

    def test_welcomePq(self) -> None:
        """Every bit of a Welcome, suite PQ."""
        self.check_welcome(PQ)

    def test_welcomeRsa(self) -> None:
        """Every bit of a Welcome, suite RSA."""
        self.check_welcome(RSA)

    def test_proofsPq(self) -> None:
        """Every bit of both proofs, suite PQ."""
        self.check_proofs(PQ)

    def test_proofsRsa(self) -> None:
        """Every bit of both proofs, suite RSA."""
        self.check_proofs(RSA)

    def test_aboutPq(self) -> None:
        """Every bit of ABOUT, suite PQ."""
        self.check_about(PQ)

    def test_aboutRsa(self) -> None:
        """Every bit of ABOUT, suite RSA."""
        self.check_about(RSA)

    def test_recordsPq(self) -> None:
        """Every bit of a record of each type, suite PQ."""
        self.check_records(PQ)

    def test_recordsRsa(self) -> None:
        """Every bit of a record of each type, suite RSA."""
        self.check_records(RSA)

    def test_cuts(self) -> None:
        """A handshake that is cut anywhere causes no event and no answer."""
        for suite in (PQ, RSA):
            hello = Pair(suite).client.data_to_send()
            server = Pair.server_alone()
            for position in range(len(hello) - 1):
                self.assertIsNone(self.assertNothingAccepted(server, hello[position : position + 1]))
            first = Pair(suite)
            first.to_server(first.client.data_to_send())
            welcome = frames(first.server.data_to_send())[0]
            client = same_client(first)
            for position in range(len(welcome) - 1):
                self.assertIsNone(self.assertNothingAccepted(client, welcome[position : position + 1]))
