"""The second implementation of the protocol, against itself, its faults, and other programs."""

import base64
import json
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from twisted.trial.unittest import SynchronousTestCase

from tests.independent import hpke, sshsig
from tests.independent.abort import CATEGORIES, AbortError
from tests.independent.capture import converse
from tests.independent.client import Client, ClientSettings
from tests.independent.conversation import Call
from tests.independent.decoder import Session, decode
from tests.independent.fault_table import FAULTS
from tests.independent.faults import Fault, commit_client_fault, commit_server_fault
from tests.independent.items import DELTA, EVENT, PIECE, Result, ResultReader, pack_items
from tests.independent.messages import CLIENT_KEY_REQUIRED
from tests.independent.pack import Value, pack, unpack
from tests.independent.records import (
    CANCEL,
    FAULT,
    NEW,
    PAD,
    RECALL,
    REKEY,
    REPLY,
    SAY,
    SENDER_LIMIT,
    fernet_open,
    fernet_seal,
)
from tests.independent.reference import CLIENT_SETTINGS, ENVIRONMENT, SERVER_SETTINGS, run_client, run_server
from tests.independent.schedule import lp
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import PQ, SUITES

LONG = "€" * 5000 + "x" * 7000  # 22,000 bytes, in many records, with characters split between them


def shout(server: Server) -> None:
    server.serve(str.upper)


def nothing(client: Client) -> None:
    """A session without messages."""


class SessionTests(SynchronousTestCase):
    """Sessions of the two reference peers over loopback."""

    def converse(
        self,
        talk: Callable[[Client], None],
        client_settings: ClientSettings = CLIENT_SETTINGS,
        server_settings: ServerSettings = SERVER_SETTINGS,
        work: Callable[[Server], None] = shout,
    ) -> tuple[Client, Server, Session]:
        """Both sides end in order; the capture decodes to the same with the key pair and with the secret."""
        client, server, tap, category = converse(client_settings, server_settings, talk, work)
        self.assertIsNone(category)
        session = decode(bytes(tap.sent), bytes(tap.received), client.key_pair)
        self.assertEqual(
            session, decode(bytes(tap.sent), bytes(tap.received), bytes.fromhex(client.trace.values["secret"]))
        )
        return client, server, session

    def test_withUserKey(self) -> None:
        """Messages are echoed, the user is authenticated, and the capture decodes to the same."""
        texts = ["hello", "", LONG]

        def talk(client: Client) -> None:
            for text in texts:
                client.say(text)
                self.assertEqual(client.wait_for_reply(), text.upper())

        for suite in SUITES:
            client, server, session = self.converse(talk, replace(CLIENT_SETTINGS, suite=suite))
            self.assertEqual(client.about, ("alice", "echo", "independent", 2**20, False, 0, 100, 1))
            self.assertEqual(session.about(), client.about)
            self.assertEqual(session.said(), texts)
            self.assertEqual(session.replied(), [text.upper() for text in texts])
            self.assertEqual(session.client_proof.name, ENVIRONMENT.name)
            self.assertEqual(session.session_id.hex(), server.trace.values["session_id"])

    def test_anonymous(self) -> None:
        """A client without a key is anonymous, and so is one whose server accepts no keys."""
        for suite in SUITES:
            for user_key, client_auth in ((None, 0), (None, 1), (ENVIRONMENT.user_key, 0)):
                client, _, session = self.converse(
                    nothing,
                    replace(CLIENT_SETTINGS, suite=suite, user_key=user_key),
                    replace(SERVER_SETTINGS, client_auth=client_auth),
                )
                self.assertEqual(client.about.user, "")
                self.assertEqual((session.client_proof.name, session.client_proof.user_key), (ENVIRONMENT.name, b""))

    def test_anonymousWithoutName(self) -> None:
        """A server accepts an empty name from an anonymous client."""
        settings = replace(CLIENT_SETTINGS, user_key=None, name="")
        _, _, session = self.converse(nothing, settings)
        self.assertEqual((session.client_proof.name, session.client_proof.user_key), ("", b""))

    def test_requiredKey(self) -> None:
        """A client without a key aborts if the server requires one."""
        settings = replace(SERVER_SETTINGS, client_auth=CLIENT_KEY_REQUIRED)
        with self.assertRaises(AbortError) as raised:
            self.converse(nothing, replace(CLIENT_SETTINGS, user_key=None), settings)
        self.assertEqual(raised.exception.category, "user-key")

    def test_traces(self) -> None:
        """Both peers trace the same values; the same randomness and ``sealed`` give the same session."""
        for suite in SUITES:
            settings = replace(CLIENT_SETTINGS, suite=suite)
            client, server, _ = self.converse(nothing, settings)
            shared = client.trace.values.keys() & server.trace.values.keys()
            self.assertLessEqual({f"h{number}" for number in range(8)} | {"prk", "master", "session_id"}, shared)
            for name in shared:
                self.assertEqual(client.trace.values[name], server.trace.values[name], name)
            sealed = bytes.fromhex(server.trace.values["sealed"])
            again, _, _ = self.converse(nothing, settings, replace(SERVER_SETTINGS, sealed=sealed))
            self.assertEqual(json.dumps(again.trace.as_json()), json.dumps(client.trace.as_json()))

    def test_burst(self) -> None:
        """A message is filled to the size of a burst, REKEY included."""

        def talk(client: Client) -> None:
            client.say("x" * 1000)
            client.wait_for_reply()
            for _ in range(SENDER_LIMIT - client.sending.seq - 2):
                client.send(PAD)
            client.say("x" * 1000)
            client.wait_for_reply()
            before = len(client.trace.records)
            client.say("x" * 70_000)
            self.assertEqual(len(client.trace.records) - before, 182)
            client.wait_for_reply()

        _, _, session = self.converse(talk)
        kinds = [record.kind for record in session.client_records]
        self.assertEqual(kinds[1:5], [SAY, SAY, SAY, PAD])
        self.assertEqual(kinds[-187:-183], [SAY, REKEY, SAY, SAY])
        rekey = next(record for record in session.client_records if record.kind == REKEY)
        self.assertEqual(rekey.seq, SENDER_LIMIT - 1)

    def test_rekey(self) -> None:
        """Either side may rekey at any time, also within a message, and nothing is lost."""

        def talk(client: Client) -> None:
            client.send(SAY, 1, False, b"one ")
            client.send(REKEY)
            client.send(REKEY)
            client.send(SAY, 1, True, b"message")
            self.assertEqual(client.wait_for_reply(), "one message")

        def work(server: Server) -> None:
            while not isinstance(text := server.receive().content, str):
                pass
            server.send(REKEY)
            server.reply(1, text)
            shout(server)

        for suite in SUITES:
            _, _, session = self.converse(talk, replace(CLIENT_SETTINGS, suite=suite), work=work)
            self.assertEqual(session.said(), session.replied())
            self.assertEqual(len({record.ts for record in session.client_records}), 4)
            self.assertEqual(len({record.ts for record in session.server_records}), 3)

    def test_faultAndCancel(self) -> None:
        """FAULT ends an incomplete reply, and the next one is complete; NEW and a late CANCEL change nothing."""

        def talk(client: Client) -> None:
            client.say("first")
            client.send(CANCEL, 1)
            self.assertEqual(client.wait_for_reply(), 7)
            client.send(NEW)
            client.say("second")
            self.assertEqual(client.wait_for_reply(), "SECOND")
            client.send(CANCEL, 2)

        def work(server: Server) -> None:
            while server.receive().kind != CANCEL:
                pass
            server.send(REPLY, 1, False, "é".encode()[:1])
            server.send(FAULT, 1, 7)
            shout(server)

        _, _, session = self.converse(talk, work=work)
        self.assertEqual(session.replied(), ["SECOND"])

    def test_about(self) -> None:
        """Every value that ABOUT may have arrives as it was sent."""
        for max_message, shaping, tick, width in ((4096, 0, 1, 1), (2**26, 1, 60_000, 64), (2**20, 2, 128, 7)):
            settings = replace(SERVER_SETTINGS, max_message=max_message, shaping=shaping, tick=tick, width=width)
            client, _, session = self.converse(nothing, server_settings=settings)
            self.assertEqual(client.about[3:], (max_message, False, shaping, tick, width))
            self.assertEqual(session.about(), client.about)

    def test_calls(self) -> None:
        """Requests, results and recalled turns arrive as they were sent; without an API, a request is refused."""
        turns = [(0, "你好"), (1, ""), (0, "x" * 3000)]

        def talk(client: Client) -> None:
            client.say("hello", turns)
            self.assertEqual(client.wait_for_reply(), "HELLO")
            client.call("embeddings", b"x" * 3000)
            result = client.wait_for_reply()
            assert isinstance(result, Result)
            self.assertEqual((result.status, result.content_type, result.body), (200, "embeddings", b"x" * 3000))
            client.say("", [])
            client.wait_for_reply()

        def api(call: Call) -> bytes:
            return pack_items(200, call.path, (PIECE, call.body[:1000]), (PIECE, call.body[1000:]))

        settings = replace(SERVER_SETTINGS, api=True)
        _, _, session = self.converse(talk, server_settings=settings, work=lambda server: server.serve(str.upper, api))
        self.assertEqual(session.said(), [turns, "hello", Call("embeddings", b"x" * 3000), [], ""])
        kinds = [record.kind for record in session.client_records if record.kind not in (PAD, REKEY)]
        self.assertEqual(kinds[1:8], [RECALL] * 6 + [SAY])
        self.converse(lambda client: self.assertEqual((client.call("models"), client.wait_for_reply()), (1, 11)))

    def test_events(self) -> None:
        """Events arrive whole, also if they are sent as differences in records of any size."""
        events = [("", b"abcdef"), ("", b"abXef"), ("n", b"[DONE]"), ("n", b"[DONE]")]
        items = [(EVENT, "", b"abcdef"), (DELTA, 2, 2, b"X"), (EVENT, "n", b"[DONE]"), (DELTA, 4, 2, b"")]
        data = pack_items(200, "text/event-stream;charset=utf-8", *items)
        for size in range(1, 12):
            reader = ResultReader()
            for at in range(0, len(data), size):
                reader.add(data[at : at + size])
            self.assertEqual(reader.end().events, events)

    def test_lengths(self) -> None:
        """A message is as long as ABOUT allows, and a reply as long as it likes."""

        def talk(client: Client) -> None:
            client.say("x" * 4096)
            self.assertEqual(client.wait_for_reply(), "x" * 4096 * 20)

        settings = replace(SERVER_SETTINGS, max_message=4096)
        self.converse(talk, server_settings=settings, work=lambda server: server.serve(lambda text: text * 20))

    def test_unknownFault(self) -> None:
        """A FAULT with a code of a later version ends its reply."""

        def talk(client: Client) -> None:
            for text in ("first", "second"):
                client.say(text)
            self.assertEqual([client.wait_for_reply(), client.wait_for_reply()], [2**64 - 1, "SECOND"])

        def work(server: Server) -> None:
            server.receive()
            server.send(FAULT, 1, 2**64 - 1)
            shout(server)

        self.converse(talk, work=work)

    def test_truncatedCapture(self) -> None:
        """A capture that ends within the handshake or within a frame is an error."""
        client, _, tap, _ = converse(CLIENT_SETTINGS, SERVER_SETTINGS, nothing, shout)
        sent, received = bytes(tap.sent), bytes(tap.received)
        for from_client, from_server in ((b"", b""), (sent[:-1], received), (sent, received[:1400])):
            with self.assertRaises(AbortError) as raised:
                decode(from_client, from_server, client.key_pair)
            self.assertEqual(raised.exception.category, "cut")


class PackTests(SynchronousTestCase):
    """The one encoding of each value."""

    def test_roundTrips(self) -> None:
        """Every width of every type round-trips."""
        numbers = [edge + off for edge in (0, 128, 2**8, 2**16, 2**32) for off in (-1, 0, 1) if edge + off >= 0]
        texts = ["x" * size for size in (0, 31, 32, 255, 256, 65535, 65536)]
        values: list[Value] = [None, False, True, *numbers, 2**64 - 1, *texts, *(text.encode() for text in texts)]
        for value in (*values, tuple(values), (), ((),)):
            self.assertEqual(unpack(pack(value)), value)

    def test_fixedForms(self) -> None:
        """Encodings are those of the msgpack specification."""
        fields: Value = ("a", 1, 127, 128, 256, b"", None, True)
        self.assertEqual(pack(fields).hex(), "98a161017fcc80cd0100c400c0c3")

    def test_otherForms(self) -> None:
        """Encodings that are too wide, truncated, too deep, followed by more data or of an unused type are errors."""
        for text in (
            "", "cc7f", "cd00ff", "ce0000ffff", "cf00000000ffffffff", "d90161", "da000161", "db0000000161", "c5000100",
            "c60000000100", "dc000100", "dd0000000100", "ff", "d001", "d10001", "ca3f800000", "cb3ff0000000000000",
            "80", "8100c0", "de0000", "c1", "d40000", "c70000", "91", "a161a1", "c401", "0000", "a1ff", "9191919191c0",
        ):  # fmt: skip
            with self.assertRaises(AbortError, msg=text) as raised:
                unpack(bytes.fromhex(text))
            self.assertEqual(raised.exception.category, "malformed")

    def test_outOfRange(self) -> None:
        """Negative numbers and those of more than 64 bits have no encoding."""
        for number in (-1, 2**64):
            self.assertRaises(ValueError, pack, number)


class OthersTests(SynchronousTestCase):
    """The second implementation's cryptography, compared with other implementations."""

    def test_hpke(self) -> None:
        """The library opens what we seal, and we open what it seals, with the same info only."""
        mlkem, point = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        both = MLKEM768X25519PrivateKey(mlkem, point)
        pub = mlkem.public_key().public_bytes_raw() + point.public_key().public_bytes_raw()
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
        self.assertEqual(suite.decrypt(hpke.seal(pub, b"info", b"secret"), both, info=b"info"), b"secret")
        theirs = suite.encrypt(b"secret", both.public_key(), info=b"info")
        self.assertEqual(hpke.open_(mlkem, point, b"info", theirs), b"secret")
        self.assertIsNone(hpke.open_(mlkem, point, b"other", theirs))

    def test_fernet(self) -> None:
        """The same holds for Fernet."""
        key = os.urandom(32)
        fernet = Fernet(base64.urlsafe_b64encode(key))
        self.assertEqual(fernet.decrypt(fernet_seal(key, b"data", os.urandom(16))), b"data")
        self.assertEqual(fernet_open(key, fernet.encrypt_at_time(b"data", 0)), b"data")

    def test_sshKeygen(self) -> None:
        """``ssh-keygen -Y verify`` accepts our signatures."""
        folder = Path(self.mktemp())
        folder.mkdir()
        key = Ed25519PrivateKey.generate()
        blob = sshsig.blob(key)
        signature = lp(b"ssh-ed25519") + lp(sshsig.sign(key, sshsig.CLIENT, b"message"))
        body = (
            b"SSHSIG"
            + (1).to_bytes(4, "big")
            + lp(blob)
            + lp(sshsig.CLIENT.encode())
            + lp(b"")
            + lp(b"sha512")
            + lp(signature)
        )
        armour = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(body) + b"-----END SSH SIGNATURE-----\n"
        (folder / "sig").write_bytes(armour)
        (folder / "signers").write_bytes(b"alice ssh-ed25519 " + base64.b64encode(blob) + b"\n")
        command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "alice", "-n", sshsig.CLIENT, "-s", "sig"]
        for message, good in ((b"message", True), (b"other", False)):
            done = subprocess.run(command, cwd=folder, input=message, capture_output=True, check=False)
            self.assertEqual(done.returncode == 0, good, done.stderr)


class FaultTests(SynchronousTestCase):
    """Each fault in the table, against the other reference peer, aborts in its category, and nothing is sent."""

    def outcome(self, fault: Fault, suite: str) -> tuple[str | None, bool]:
        """The category in which the peer under test aborted, and whether it sent anything after the fault."""
        near, far = socket.socketpair()
        with near:
            if fault.role == "client":
                running = run_server(far, fault, suite)
                rest = commit_client_fault(fault, near, suite, ENVIRONMENT)
            else:
                running = run_client(far, fault, suite)
                rest = commit_server_fault(fault, near, suite, ENVIRONMENT)
        return running.end(), bool(rest) and not fault.answered

    def commit(self, faults: list[Fault]) -> None:
        self.assertNotEqual(faults, [])
        wrong = []
        for fault in faults:
            for suite in fault.suites:
                outcome = self.outcome(fault, suite)
                if outcome != (fault.category, False):
                    wrong.append((fault.name, suite, fault.category, outcome))
        self.assertEqual(wrong, [])

    def test_clientFaults(self) -> None:
        """Faults of a client, against a server."""
        self.commit([fault for fault in FAULTS.values() if fault.role == "client" and not fault.slow])

    def test_serverFaults(self) -> None:
        """Faults of a server, against a client."""
        self.commit([fault for fault in FAULTS.values() if fault.role == "server" and not fault.slow])

    def test_silence(self) -> None:
        """Faults of a client that omits something."""
        self.commit([fault for fault in FAULTS.values() if fault.category == "timeout"])

    def test_missingRekey(self) -> None:
        """A client that never rekeys; with one side and suite only, because it takes seconds."""
        self.commit([replace(FAULTS["client-rekey-never"], suites=(PQ,))])

    def test_everyCategory(self) -> None:
        """Every category has a fault."""
        self.assertEqual(CATEGORIES, {fault.category for fault in FAULTS.values()})
