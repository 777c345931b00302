"""Users' certificates in the client's PROOF."""

import hmac
from dataclasses import replace as replace_identity
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import AuthenticationError, Category, RemoteProtocolError
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate, split
from securechat.ssh.encoding import string
from securechat.wire.certificates import EXTENSIONS, credential_of, excess, read_credential
from securechat.wire.events import ClientProved
from securechat.wire.handshake import ClientHandshake, ServerHandshake, extend
from securechat.wire.messages import (
    CLIENT_BODY,
    CLIENT_PROOF,
    CertificateBody,
    ClientAuth,
    ClientBody,
    ClientProof,
    decode,
    encode,
)
from securechat.wire.records import MAX_PAYLOAD
from tests.harness.certificates import CA, issue, raw, source_address, strings
from tests.harness.pair import NAME, PQ, RSA, USER_KEY, Pair, accept, ephemeral_key, frames, identity
from tests.independent.certificates import Certificate as TheirCertificate
from tests.independent.certificates import extensions_of

BLOB = issue(USER_KEY, b"alice")
ALL = strings(*(item for name in EXTENSIONS for item in (name, b"")))


def sent(blob: bytes = BLOB) -> CertificateBody:
    """What is sent of a certificate."""
    found = credential_of(blob)
    assert isinstance(found, CertificateBody)
    return found


class FormTests(SynchronousTestCase):
    """The array that stands for a certificate."""

    def test_key(self) -> None:
        """A plain key, and none, are sent as they are."""
        for blob in (USER_KEY.blob, b""):
            self.assertEqual(credential_of(blob), blob)
            self.assertEqual(read_credential(blob), (blob, b""))

    def test_extensions(self) -> None:
        """The extensions that ssh-keygen adds are a number, which is the only form in which they are accepted."""
        for number in range(32):
            blob = issue(USER_KEY, b"alice", extensions=extensions_of(number))
            self.assertEqual(sent(blob).extensions, number)
            self.assertEqual(read_credential(sent(blob)), (USER_KEY.blob, blob))
            other = replace(sent(blob), extensions=extensions_of(number))
            error = self.assertRaises(RemoteProtocolError, read_credential, other)
            self.assertEqual(error.category, Category.MALFORMED)

    def test_otherExtensions(self) -> None:
        """Other extensions, and those in another order or with data, are sent as they are."""
        for extensions in (
            strings(b"no-touch-required", b""),
            strings(b"permit-pty", b"data"),
            strings(b"permit-user-rc", b"", b"permit-pty", b""),
            strings(b"permit-pty", b"") * 2,
            ALL + b"\0",
        ):
            blob = issue(USER_KEY, b"alice", extensions=extensions)
            self.assertEqual(sent(blob).extensions, extensions)
            self.assertEqual(read_credential(sent(blob)), (USER_KEY.blob, blob))

    def test_form(self) -> None:
        """An array with other types or lengths is malformed."""
        body = encode(ClientBody(NAME, sent()))
        self.assertEqual(decode(CLIENT_BODY, body), ClientBody(NAME, sent()))
        fields = list(sent().__struct_fields__)
        values = [getattr(sent(), field) for field in fields]
        for at, field in enumerate(fields):
            bad = [None, -1, "text", [b""], *([b""] if field in ("key", "ca", "signature", "serial") else [])]
            for value in bad if field != "extensions" else [*bad, 32, True]:
                changed = encode(["client", NAME, [*values[:at], value, *values[at + 1 :]]])
                self.assertRaises(RemoteProtocolError, decode, CLIENT_BODY, changed)
        for other in (values[:-1], [*values, 0], []):
            self.assertRaises(RemoteProtocolError, decode, CLIENT_BODY, encode(["client", NAME, other]))
        wide = body.replace(b"\x07\xac", b"\xcc\x07\xac") if b"\x07\xac" in body else body.replace(b"\x07", b"\xcc\x07")
        self.assertRaises(RemoteProtocolError, decode, CLIENT_BODY, wide)

    def test_size(self) -> None:
        """A default certificate of ssh-keygen fits into the record, with so much to spare."""
        blob = issue(USER_KEY, b"alice", extensions=ALL)
        room = -excess(blob, "[chat.example.org]:8080")
        self.assertEqual(room, 168)
        fitting = issue(USER_KEY, b"alice", extensions=ALL, key_id=b"i" * (len(b"alice@laptop") + room))
        self.assertEqual(excess(fitting, "[chat.example.org]:8080"), 0)
        proof = ClientProof(Raw(encode(ClientBody("[chat.example.org]:8080", sent(fitting)))), bytes(64), bytes(32))
        self.assertEqual(len(encode(proof)), MAX_PAYLOAD)
        self.assertLess(excess(USER_KEY.blob, NAME), 0)

    @given(
        st.builds(
            dict,
            nonce=st.binary(max_size=64),
            serial=st.integers(0, 2**64 - 1),
            key_id=st.binary(max_size=99),
            principals=st.binary(max_size=99),
            valid_after=st.integers(0, 2**64 - 1),
            valid_before=st.integers(0, 2**64 - 1),
            options=st.binary(max_size=99),
            extensions=st.binary(max_size=99) | st.integers(0, 31).map(extensions_of),
        )
    )
    def test_roundTrip(self, changes: dict[str, Any]) -> None:
        """Any certificate is what was sent, and is the same to the independent implementation."""
        blob = issue(USER_KEY, b"alice", **changes)
        body = decode(CLIENT_BODY, encode(ClientBody(NAME, sent(blob))))
        self.assertEqual(read_credential(body.user_key), (USER_KEY.blob, blob))
        theirs = TheirCertificate(*split(blob))
        self.assertEqual(theirs.blob(), blob)
        self.assertEqual(encode(theirs.fields()), encode(sent(blob)))


class HandshakeTests(SynchronousTestCase):
    """The server's checks."""

    def prepare(self, blob: bytes = BLOB, key: keys.SigningKey = USER_KEY, **options: Any) -> None:
        """Everything up to the client's PROOF."""
        self.seen: list[tuple[bytes, Certificate | None]] = []

        def is_authorized(blob: bytes, certificate: Certificate | None) -> bool:
            self.seen.append((blob, certificate))
            return True

        server_identity = replace_identity(identity(ClientAuth.REQUIRED, is_authorized), **options)
        self.client = ClientHandshake(PQ, ephemeral_key(PQ), NAME, accept, blob)
        self.server = ServerHandshake(server_identity, {NAME})
        self.client.receive_welcome(self.server.receive_hello(self.client.hello())[0])
        self.client.receive_server_proof(self.server.prove())
        self.key = key

    def payload(self) -> bytes:
        data = self.client.data_to_sign()
        return self.client.prove(self.key.sign(data) if data else b"")[0]

    def proof_of(self, body: bytes) -> bytes:
        """A PROOF with this body and a right signature and MAC."""
        h5 = extend(self.server._h4, self.server._mac, body)
        signature = self.key.sign(keys.signed_data(b"securechat-v1-client", h5))
        mac = hmac.digest(self.client._keys.finished_client, extend(h5, signature), "sha256")
        return encode(ClientProof(Raw(body), signature, mac))

    def refused(self, category: Category, payload: bytes) -> None:
        error = self.assertRaises(RemoteProtocolError, self.server.receive_client_proof, payload)
        self.assertEqual(error.category, category)

    def test_accepted(self) -> None:
        """A certificate is accepted with a signature by its key, and both sides have the same session keys."""
        self.prepare()
        data = self.client.data_to_sign()
        assert data is not None
        payload, session = self.client.prove(USER_KEY.sign(data))
        self.assertEqual(self.server.receive_client_proof(payload), session)
        self.assertEqual(self.seen, [(USER_KEY.blob, Certificate.parse(BLOB))])
        self.assertEqual((self.server.user_key, self.server.certificate), (USER_KEY.blob, Certificate.parse(BLOB)))

    def test_notProved(self) -> None:
        """A certificate is of no use without its key, and is not even read."""
        self.prepare()
        self.key = keys.SigningKey.generate()
        self.refused(Category.PROOF, self.proof_of(encode(ClientBody(NAME, sent()))))
        self.assertEqual((self.seen, self.server.user_key, self.server.certificate), ([], b"", None))

    def test_withoutSignature(self) -> None:
        """A certificate without a signature is malformed."""
        self.prepare()
        proof = decode(CLIENT_PROOF, self.payload())
        self.refused(Category.MALFORMED, encode(replace(proof, signature=b"")))

    def test_name(self) -> None:
        """The name that the client dialled has to be there, and be the server's."""
        for name in ("", "[evil.example]:8080"):
            self.prepare()
            self.refused(Category.NAME, self.proof_of(encode(ClientBody(name, sent()))))

    def test_content(self) -> None:
        """A certificate with a wrong content is refused, after its key has been proved."""
        good = sent()
        bent = {
            "nonce": b"x",
            "serial": 8,
            "key_id": b"mallory",
            "principals": string(b"root"),
            "valid_after": 1,
            "valid_before": 1,
            "options": source_address(b"0.0.0.0/0"),
            "extensions": 1,
            "ca": raw(USER_KEY),
            "signature": bytes(64),
        }
        for field, value in bent.items():
            self.prepare()
            self.refused(Category.USER_KEY, self.proof_of(encode(ClientBody(NAME, replace(good, **{field: value})))))
            self.assertEqual((self.seen, self.server.user_key, self.server.certificate), ([], USER_KEY.blob, None))
        self.assertEqual({*bent, "key"}, set(good.__struct_fields__))
        for blob in (issue(USER_KEY), issue(USER_KEY, b"a", options=strings(b"force-command", string(b"x")))):
            self.prepare(blob)
            self.refused(Category.USER_KEY, self.payload())

    def test_keyOfSmallOrder(self) -> None:
        """A certificate for a key of small order is refused before its signature is verified."""
        self.prepare()
        small = encode(ClientBody(NAME, sent(issue(USER_KEY, b"alice", key=bytes(32)))))
        self.refused(Category.USER_KEY, self.proof_of(small))

    def test_notAuthorized(self) -> None:
        """A certificate that the server does not accept is refused, and so is any if it takes no keys."""
        for options in ({"is_authorized": lambda blob, certificate: False}, {"client_auth": ClientAuth.NONE}):
            self.prepare()
            payload = self.payload()
            self.server._identity = replace_identity(self.server._identity, **options)
            self.refused(Category.USER_KEY, payload)

    def test_noKeysTaken(self) -> None:
        """A client sends no certificate to a server that takes no keys."""
        self.prepare(client_auth=ClientAuth.NONE)
        self.assertIsNone(self.client.data_to_sign())
        self.assertEqual(decode(CLIENT_BODY, bytes(decode(CLIENT_PROOF, self.payload()).body)), ClientBody(NAME, b""))


class SessionTests(SynchronousTestCase):
    """Connections."""

    def test_sizes(self) -> None:
        """The stream of a client with a certificate has the same frames as that of any other."""
        for suite in (PQ, RSA):
            lengths = []
            for blob in (b"", USER_KEY.blob, BLOB):
                pair = Pair(suite, user_key=USER_KEY if blob else None, credential=blob)
                sent = [pair.client.data_to_send()]
                pair.to_server(sent[0])
                sent.append(pair.server.data_to_send())
                pair.to_client(sent[1])
                sent.append(pair.client.data_to_send())
                pair.to_server(sent[2])
                sent.append(pair.server.data_to_send())
                pair.to_client(sent[3])
                lengths.append([len(frame) for data in sent for frame in frames(data)])
                self.assertEqual(len(pair.client_events), 3)
            self.assertEqual(lengths[0], lengths[1])
            self.assertEqual(lengths[1], lengths[2])

    def test_events(self) -> None:
        """The server is told the key and the certificate."""
        pair = Pair(user_key=USER_KEY, credential=BLOB).open()
        self.assertEqual(pair.server_events[-1], ClientProved(USER_KEY.blob, Certificate.parse(BLOB)))

    def test_otherAuthority(self) -> None:
        """The signature of the authority is verified with the key that the certificate names."""
        other = keys.SigningKey.generate()
        forged = split(issue(USER_KEY, b"alice", ca=other))._replace(ca=raw(CA)).blob
        pair = Pair(user_key=USER_KEY, credential=forged)
        self.assertRaises(AuthenticationError, pair.pump)
