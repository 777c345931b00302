"""The models in docs/formal use the same constants as the code."""

import re
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh import keys
from securechat.wire import handshake as keyexchange
from securechat.wire.handshake import HandshakeKeys, SessionKeys, extract
from securechat.wire.messages import ClientAuth, ClientBody, Hello, ServerBody, Welcome, encode
from securechat.wire.records import expand
from tests.harness.pair import PQ

MODELS = sorted((Path(__file__).parent.parent / "docs" / "formal").glob("*.pv"))


class ModelTests(SynchronousTestCase):
    """The first comment of each model lists its constants."""

    def test_constants(self) -> None:
        """Tags, namespaces and labels in the models are those on the wire and in the key schedule."""
        self.assertEqual(len(MODELS), 11)
        for model in MODELS:
            names = dict(re.findall(r'(\w+) = "([^"]*)"', model.read_text().split("*)")[0]))
            constants = {name: text.encode() for name, text in names.items()}
            self.check(constants, model.name)

    def check(self, constants: dict[str, bytes], model: str) -> None:
        self.assertEqual(constants["NSS"], keyexchange.SERVER_NAMESPACE, model)
        self.assertEqual(constants["NSC"], keyexchange.CLIENT_NAMESPACE, model)
        self.assertTrue(keys.signed_data(b"", b"").startswith(constants["SSHSIG"]))
        self.assertEqual(keyexchange.first_hash(PQ), sha256(constants["INIT"] + b"\0" + PQ.name).digest(), model)
        self.assertTrue(keyexchange.seal_info(b"", b"").startswith(constants["SEAL"] + b"\0"), model)
        for name, message in (
            ("HELLO", Hello(1, b"", bytes(32), b"", bytes(32))),
            ("WELCOME", Welcome(1, b"", bytes(32), b"", bytes(32))),
            ("SBODY", ServerBody(b"", ClientAuth.NONE)),
            ("CBODY", ClientBody("", b"")),
        ):
            tag = constants[name]
            self.assertEqual(encode(message)[1 : 2 + len(tag)], bytes([0xA0 + len(tag)]) + tag, model)
        h2, h7 = b"2" * 32, b"7" * 32
        handshake = HandshakeKeys.derive(b"s" * 32, h2)
        session = SessionKeys.derive(handshake.master, h7)
        prk, app = extract(h2, b"s" * 32), extract(h7, handshake.master)
        for name, source, context, key in (
            ("lhc", prk, h2, handshake.client),
            ("lhs", prk, h2, handshake.server),
            ("lfc", prk, h2, handshake.finished_client),
            ("lfs", prk, h2, handshake.finished_server),
            ("lac", app, h7, session.client),
            ("las", app, h7, session.server),
        ):
            if name in constants:
                self.assertEqual(expand(source, constants[name], context), key, f"{model}: {name}")
