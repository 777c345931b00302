"""Every bit of the handshake and of one record of each type is authenticated; a cut handshake yields nothing."""

import copy
import copyreg
import re
from collections.abc import Callable, Iterator
from dataclasses import replace as replace_identity
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Category, Fault, RemoteProtocolError
from securechat.ssh.keys import SigningKey
from securechat.wire.client_connection import ClientConnection
from securechat.wire.connection import Connection
from securechat.wire.events import Admitted
from securechat.wire.host_keys import announce
from securechat.wire.messages import Reason
from securechat.wire.records import RecordType
from securechat.wire.suites import Suite
from tests.harness.certificates import issue
from tests.harness.pair import ABOUT, PQ, RSA, USER_KEY, Pair, frames, identity, is_dead

# Copies of a connection can share this cipher, which has no state, and which `copy` cannot copy.
copyreg.pickle(ChaCha20Poly1305, lambda cipher: (lambda: cipher, ()))

FLIPPED = {  # bits of each, by suite
    PQ.name: {"Hello": 10_656, "Welcome": 10_288, "PROOFs": 8_512, "ABOUT": 4_224, "records": 59_136},
    RSA.name: {"Hello": 3_144, "Welcome": 2_856, "PROOFs": 12_544, "ABOUT": 6_240, "records": 87_360},
}

LENGTH_BITS = 32  # the first bits of a frame are its length


def same_client(pair: Pair) -> ClientConnection:
    """A client that has just sent the same Hello as the pair's client."""
    client = pair.same_client()
    client.data_to_send()
    return client


def hello_and_welcome(suite: Suite) -> tuple[Pair, bytes, bytes]:
    """A pair whose server has received the Hello, and both frames."""
    pair = Pair(suite)
    hello = pair.client.data_to_send()
    pair.to_server(hello)
    return pair, hello, frames(pair.server.data_to_send())[0]


class FlipTests(SynchronousTestCase):
    """Flipped bits and cut frames."""

    def setUp(self) -> None:
        self.flipped = 0  # bits

    def flips(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """`data` with each of its bits flipped in turn."""
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 0x80 >> bit % 8
            self.flipped += 1
            yield bit, bytes(changed)

    def assertFlipped(self, suite: Suite, what: str) -> None:
        """As many bits were flipped as the table says, the sum of which is documented."""
        self.assertEqual(self.flipped, FLIPPED[suite.name][what])

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
        for bit, changed in self.flips(frame):
            end, _frame = make()
            category = self.assertNothingAccepted(end, changed)
            if category is None:
                self.assertLess(bit, LENGTH_BITS)  # only a changed length can leave the end waiting

    def check_hello(self, suite: Suite) -> None:
        """The server cannot detect a changed nonce, but the client cannot open the Welcome that answers it."""
        pair = Pair(suite)
        hello = pair.client.data_to_send()
        for bit, changed in self.flips(hello):
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
        self.assertFlipped(suite, "Hello")

    def check_welcome(self, suite: Suite) -> None:
        first, _hello, welcome = hello_and_welcome(suite)
        self.check(lambda: (same_client(first), welcome))
        self.assertFlipped(suite, "Welcome")

    def check_proofs(self, suite: Suite, credential: bytes = USER_KEY.blob) -> None:
        pair = Pair(suite, user_key=USER_KEY, credential=credential)
        pair.to_server(pair.client.data_to_send())
        welcome, server_proof = frames(pair.server.data_to_send())
        pair.to_client(welcome)
        self.check(lambda: (copy.deepcopy(pair.client), server_proof))
        pair.to_client(server_proof)
        client_proof = pair.client.data_to_send()
        self.check(lambda: (copy.deepcopy(pair.server), client_proof))
        self.assertFlipped(suite, "PROOFs")

    def check_about(self, suite: Suite) -> None:
        """A record that does not open does not change the client, which accepts the right one after all."""
        pair = Pair(suite)
        pair.to_server(pair.client.data_to_send())
        pair.to_client(pair.server.data_to_send())
        pair.to_server(pair.client.data_to_send())
        about = pair.server.data_to_send()
        opener = pair.client._opener
        assert opener is not None
        for _bit, changed in self.flips(about[4:]):
            error = self.assertRaises(RemoteProtocolError, opener.open, changed)
            self.assertEqual(error.category, Category.RECORD)
        self.assertIsInstance(pair.to_client(about)[0], Admitted)
        self.assertFlipped(suite, "ABOUT")

    def check_records(self, suite: Suite) -> None:
        """A record that does not open does not change the receiver, so one session serves for all bits."""
        successor = SigningKey.generate()
        about = replace(ABOUT, api=True, software=announce("test", successor.blob))
        pair = Pair(suite, about=about, server_identity=replace_identity(identity(), next_host_key=successor)).open()
        pair.client.ask_host_key()

        def rekey() -> None:
            pair.clock.advance(901)
            pair.server.pad()

        def call() -> None:
            """The first record of a burst stands for all; the others are delivered as they are."""
            pair.client.call("models", b"")
            burst = frames(pair.client.data_to_send())
            pair.client._out.append(burst[0])
            rest.extend(burst[1:])

        rest: list[bytes] = []
        kinds: list[tuple[Callable[[], object], Connection, Connection]] = [
            (pair.client._begin_burst, pair.client, pair.server),
            (pair.server.send_host_key, pair.server, pair.client),
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
            (lambda: pair.client.goodbye(Reason.LEAVING, 0), pair.client, pair.server),
            (rekey, pair.server, pair.client),  # the last, because by then the client has to rekey, too
        ]
        for send, sender, receiver in kinds:
            send()
            [frame] = frames(sender.data_to_send())
            opener = receiver._opener
            assert opener is not None
            for _bit, changed in self.flips(frame[4:]):
                error = self.assertRaises(RemoteProtocolError, opener.open, changed)
                self.assertEqual(error.category, Category.RECORD)
            received = receiver.records_received
            list(receiver.receive_data(b"".join((frame, *rest))))
            self.assertEqual(receiver.records_received, received + 1 + len(rest))
            rest.clear()
        self.assertFlipped(suite, "records")

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

    def test_certificatePq(self) -> None:
        """Every bit of both proofs, if the client has a certificate."""
        self.check_proofs(PQ, issue(USER_KEY, b"alice"))

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

    def test_documented(self) -> None:
        """docs/evidence.md states how many bits these tests flip."""
        total = sum(sum(bits.values()) for bits in FLIPPED.values())
        text = (Path(__file__).parents[2] / "docs/evidence.md").read_text("utf-8")
        self.assertEqual(re.findall(r"([\d,]+) single-bit changes", text), [f"{total:,}"])

    def assertCut(self, make: Callable[[], Connection], frame: bytes) -> None:
        """A frame that is cut anywhere causes no event and no answer, and then the end of the stream is an error."""
        for size in range(len(frame)):
            end = make()
            self.assertIsNone(self.assertNothingAccepted(end, frame[:size]))
            error = self.assertRaises(RemoteProtocolError, end.receive_end)
            self.assertEqual(error.category, Category.CUT)
            self.assertTrue(is_dead(end))

    def test_cuts(self) -> None:
        """A stream that ends within any message of the handshake, or within a record, yields nothing of it."""
        for suite in (PQ, RSA):
            pair, hello, welcome = hello_and_welcome(suite)
            self.assertCut(Pair.server_alone, hello)
            self.assertCut(lambda pair=pair: same_client(pair), welcome)  # type: ignore[misc]
            pair = Pair(suite, user_key=USER_KEY)
            pair.to_server(pair.client.data_to_send())
            welcome, server_proof = frames(pair.server.data_to_send())
            pair.to_client(welcome)
            self.assertCut(lambda pair=pair: copy.deepcopy(pair.client), server_proof)  # type: ignore[misc]
            pair.to_client(server_proof)
            client_proof = pair.client.data_to_send()
            self.assertCut(lambda pair=pair: copy.deepcopy(pair.server), client_proof)  # type: ignore[misc]
            pair.to_server(client_proof)
            about = pair.server.data_to_send()
            self.assertCut(lambda pair=pair: copy.deepcopy(pair.client), about)  # type: ignore[misc]
            pair.to_client(about)
            pair.client.say("x")
            say = pair.client.data_to_send()
            self.assertCut(lambda pair=pair: copy.deepcopy(pair.server), say)  # type: ignore[misc]
