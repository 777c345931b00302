"""Notes every secret that tests make and everything that is said meanwhile, and searches the one in the other.

`tests.test_secrets` does so for the tests of sessions. ``python -m tests.harness.secret_search`` does it for the whole
suite, with everything logged at debug level; it takes as long as the suite, and some minutes more.
"""

import ast
import binascii
import gc
import re
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.logger import ILogObserver, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from securechat.calls.bodies import Body
from securechat.calls.requests import Access, ApiCall
from securechat.client.api.channel import Channel
from securechat.client.api.door import Door, DoorSettings
from securechat.client.api.exchange import Exchange
from securechat.client.api.pool import SessionPool
from securechat.client.api.request import ApiRequest
from securechat.client.api.session import ApiSession, PendingCall
from securechat.client.api.site import Site
from securechat.conversation import Conversation, Turn
from securechat.server.session import Session
from securechat.ssh.keys import SigningKey
from securechat.wire import handshake as keyexchange
from securechat.wire import records
from securechat.wire.connection import Connection
from securechat.wire.events import CallReceived, MessageReceived
from securechat.wire.handshake import ClientHandshake, HandshakeKeys, ServerHandshake, SessionKeys
from securechat.wire.records import Opener, Sealer

Patch = Callable[[Any, str, Any], object]

HOLDERS: Final = (
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
    ApiCall,
    Body,
    Channel,
    Door,
    DoorSettings,
    Exchange,
    SessionPool,
    ApiRequest,
    ApiSession,
    PendingCall,
    Site,
)
SIZE: Final = 32  # bytes of a key or secret; the 12 of a nonce's start are no secret, nor are the 16 of a session's id
PRIVATE_KEY: Final = "BEGIN OPENSSH PRIVATE KEY"

_HEX = re.compile(rf"[0-9a-fA-F]{{{2 * SIZE},}}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43,}")
_BYTES = re.compile(r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\"""")


class Notebook:
    """Secrets, prompts, and what was said. `open` begins to note, with a function that patches an attribute."""

    def __init__(self) -> None:
        self.secrets: set[bytes] = set()
        self.prompts: set[str] = set()
        self.said: set[str] = set()

    def open(self, patch: Patch) -> None:
        """Patch all that makes, hears or says something."""
        globalLogPublisher.addObserver(cast(ILogObserver, self._observe))
        for module in (records, keyexchange):
            self._note_results(patch, module, "expand")
        self._note_results(patch, keyexchange, "extract")
        made = SigningKey.__init__
        asked = Session.ask
        called = Session.call
        raised = Failure.__init__

        def make(signing_key: SigningKey, key: Ed25519PrivateKey) -> None:
            made(signing_key, key)
            self.secrets.add(key.private_bytes_raw())

        def ask(session: Session, message: MessageReceived, **options: Any) -> None:
            self.prompts.add(message.text)
            asked(session, message, **options)

        def call(session: Session, request: CallReceived, access: Access, **options: Any) -> None:
            self.prompts.add(request.body.decode(errors="replace"))
            called(session, request, access, **options)

        def fail(failure: Any, *arguments: Any, **options: Any) -> None:
            raised(failure, *arguments, **options)
            self.said |= {str(failure.value), repr(failure.value)}

        patch(SigningKey, "__init__", make)
        patch(Session, "ask", ask)
        patch(Session, "call", call)
        patch(Failure, "__init__", fail)

    def close(self) -> None:
        """Note no more of the log, and how what holds secrets shows itself."""
        globalLogPublisher.removeObserver(cast(ILogObserver, self._observe))
        self.said |= {repr(thing) for thing in gc.get_objects() if isinstance(thing, HOLDERS)}

    def _observe(self, event: dict[str, Any]) -> None:
        self.said |= {eventAsText(cast(Any, event)), repr(event)}

    def _note_results(self, patch: Patch, holder: Any, name: str) -> None:
        """Let a function give its result as before, and note it as a secret."""
        original: Callable[..., bytes] = getattr(holder, name)

        def noting(*arguments: Any, **options: Any) -> bytes:
            result = original(*arguments, **options)
            if len(result) == SIZE:
                self.secrets.add(result)
            return result

        patch(holder, name, noting)

    def found(self, *, shortest: int) -> list[str]:
        """Secrets that were said, in hex, base64 or as Python shows bytes, and prompts of so many characters."""
        everything = "\n".join(self.said)
        shown = [piece.hex() for text in self.said for piece in _pieces(text) if piece in self.secrets]
        shown += [key for key in (PRIVATE_KEY,) if key in everything]
        return shown + [prompt for prompt in self.prompts if len(prompt) >= shortest and prompt in everything]


def _pieces(text: str) -> Iterator[bytes]:
    """All that could be a secret in a text."""
    for run in _HEX.findall(text):
        for start in range(len(run) - 2 * SIZE + 1):
            yield binascii.unhexlify(run[start : start + 2 * SIZE])
    for run in _BASE64.findall(text):
        for start in range(len(run) - 43 + 1):
            yield b64decode(run[start : start + 43].replace("-", "+").replace("_", "/") + "=")
    for literal in _BYTES.findall(text):
        data = ast.literal_eval(literal)
        for start in range(len(data) - SIZE + 1):
            yield data[start : start + SIZE]


def main() -> None:
    """The whole suite, read by somebody who knows what to look for."""
    from twisted.scripts import trial

    from tests import test_secrets
    from tests.harness.daemon import Daemon
    from tests.server import test_protocol

    notebook = Notebook()
    cast(Any, test_protocol.SessionTests.test_logsTextOnlyWhenAskedTo).skip = "it is there to show a prompt"
    cast(Any, test_secrets.SecretTests).skip = "it is this"
    stop = Daemon.stop

    async def stop_and_read(daemon: Daemon) -> None:
        await stop(daemon)
        notebook.said.add(daemon.text() + daemon.output.read_text())

    cast(Any, Daemon).stop = stop_and_read
    notebook.open(setattr)
    sys.argv = ["trial", "--reporter=summary", "tests"]
    try:
        trial.run()
    except SystemExit as end:
        passed = not end.code
    notebook.close()
    found = notebook.found(shortest=12)
    size = sum(map(len, notebook.said))
    print(
        f"{len(notebook.secrets)} secrets and {len(notebook.prompts)} prompts, searched in {size} characters:"
        f" {len(found)} found"
    )
    for text in found[:20]:
        print(repr(text))
    sys.exit(bool(found) or not passed)


if __name__ == "__main__":
    main()
