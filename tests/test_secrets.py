"""No secret and no word of a conversation shows: not in the log, at any level, nor in an exception or a repr."""

import gc
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, cast
from unittest import TestLoader, TestResult

from twisted.logger import ILogObserver, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat import keyexchange, records
from securechat.connection import Connection
from securechat.keyexchange import ClientHandshake, HandshakeKeys, ServerHandshake, SessionKeys
from securechat.keys import SigningKey
from securechat.records import Opener, Sealer
from securechat.robots import Conversation, Turn
from securechat.server import ChatServer
from tests import pair, test_client_protocol, test_connection, test_keyexchange, test_server

SUITES = (test_connection, test_keyexchange, test_server, test_client_protocol)
HOLDERS = (
    Connection,
    HandshakeKeys,
    SessionKeys,
    Sealer,
    Opener,
    ClientHandshake,
    ServerHandshake,
    SigningKey,
    Conversation,
    Turn,
)
SHORT = 4  # characters: a prompt that is shorter stands in other text by chance


class SecretTests(SynchronousTestCase):
    """The tests of sessions, run once more by someone who notes every secret and reads everything that is said."""

    def setUp(self) -> None:
        self.secrets: set[bytes] = {pair.HOST_KEY.private_bytes(), pair.USER_KEY.private_bytes()}
        self.prompts: set[str] = set()
        self.said: list[str] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: dict[str, Any]) -> None:
        self.said += [eventAsText(cast(Any, event)), repr(event)]

    def note(self, module: Any, name: str) -> None:
        """Let a function give its result as before, and note it as a secret."""
        original: Callable[..., bytes] = getattr(module, name)

        def noting(*arguments: Any, **options: Any) -> bytes:
            result = original(*arguments, **options)
            self.secrets.add(result)
            return result

        self.patch(module, name, noting)

    def test_nothingShows(self) -> None:
        """Keys, secrets and messages of hundreds of sessions, searched in all that was logged, raised and shown."""
        for module in (records, keyexchange):
            self.note(module, "expand")
        self.note(keyexchange, "extract")
        heard = ChatServer._messageReceived

        def hear(session: Any, message: Any) -> None:
            self.prompts.add(message.text)
            heard(session, message)

        self.patch(ChatServer, "_messageReceived", hear)
        raised = Failure.__init__

        def fail(failure: Any, *arguments: Any, **options: Any) -> None:
            raised(failure, *arguments, **options)
            self.said += [str(failure.value), repr(failure)]

        self.patch(Failure, "__init__", fail)
        result = TestResult()
        for module in SUITES:
            for test in TestLoader().loadTestsFromModule(module):
                for case in cast(Any, test):
                    # Not the one that asks for the text to be logged, nor those that hypothesis runs, once a process.
                    if not any(name in case.id() for name in ("logsText", "anyBytes")):
                        case.run(result)
        self.assertEqual((result.failures, result.errors), ([], []))
        self.assertGreater(result.testsRun, 100)
        self.said += [repr(thing) for thing in gc.get_objects() if isinstance(thing, HOLDERS)]
        session_ids = {secret for secret in self.secrets if len(secret) == 16}  # public, as their name says
        self.assertGreater(len(self.secrets - session_ids), 1000)
        everything = "\n".join(self.said)
        for secret in self.secrets - session_ids:
            for form in (secret.hex(), b64encode(secret).decode(), urlsafe_b64encode(secret).decode(), repr(secret)):
                self.assertNotIn(form, everything)
        prompts = {prompt for prompt in self.prompts if len(prompt) >= SHORT}
        self.assertGreater(len(prompts), 0)
        for prompt in prompts:
            self.assertNotIn(prompt, everything)
