"""``python -m tests.independent.vectors`` writes tests/vectors/*.json: one session per suite and kind of client, one
with a certificate, and one with calls.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent.capture import converse
from tests.independent.certificates import Authority, extensions_of
from tests.independent.client import Client, ClientSettings
from tests.independent.conversation import Call
from tests.independent.items import pack_items
from tests.independent.records import CANCEL, FAULT, NEW, PAD, REKEY
from tests.independent.reference import CLIENT_SETTINGS, SERVER_SETTINGS
from tests.independent.server import Server, ServerSettings
from tests.independent.suites import PQ, RSA

VECTORS = Path(__file__).parent.parent / "vectors"
TEXTS = ("你好", "x" * 1200, "")
CANCELLED = 7

AUTHORITY = Authority(Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
assert CLIENT_SETTINGS.user_key
CERTIFICATE = AUTHORITY.issue(CLIENT_SETTINGS.user_key, b"chat", b"ops", extensions=extensions_of(31))

Talk = Callable[[Client], None]
Work = Callable[[Server], None]


def talk(client: Client) -> None:
    """Send three messages with a REKEY after each, and one record of each other type that a client may send."""
    for text in TEXTS:
        client.say(text)
        assert client.wait_for_reply() == text
        client.send(REKEY)
    client.send(PAD)
    client.send(CANCEL, 1)
    client.send(NEW)


def serve(server: Server) -> None:
    """Echo all messages."""
    server.serve(lambda text: text)


STREAM = pack_items(200, "text/event-stream", (2, "", b'{"text":"a"}'), (3, 9, 2, b"b"), (2, "", b"[DONE]"))
BODY = pack_items(404, "application/json", (1, b'{"error":'), (1, b'{"message":"x"}}'))


def talk_and_call(client: Client) -> None:
    """Recall a conversation, send two requests, and a message that is cancelled."""
    client.say("who am I?", [(0, "my name is Ada"), (1, "你好 Ada"), (0, "x" * 600)])
    client.wait_for_reply()
    client.call("chat/completions", b'{"model":"m","stream":true}')
    client.wait_for_reply()
    client.call("models/a/b")
    client.wait_for_reply()
    client.say("stop")
    client.send(CANCEL, 4)
    assert client.wait_for_reply() == CANCELLED
    client.say("again", [])
    client.wait_for_reply()


def serve_calls(server: Server) -> None:
    """Answer a request with a stream, another with a body, and not the message that is cancelled."""
    while server.conversation.said < 4:
        content = server.receive().content
        if isinstance(content, str) and content != "stop":
            server.reply(server.conversation.said, content)
        elif content == Call("models/a/b", b""):
            server.result(server.conversation.said, BODY)
        elif isinstance(content, Call) and content.body:
            server.result(server.conversation.said, STREAM)
    while server.receive().kind != CANCEL:
        pass
    server.send(FAULT, 4, CANCELLED)
    server.serve(str)


def write(path: Path, client_settings: ClientSettings, server_settings: ServerSettings, talk: Talk, work: Work) -> None:
    client, _server, _tap, category = converse(client_settings, server_settings, talk, work)
    assert category is None, category
    path.write_text(json.dumps(client.trace.as_json(), indent=1) + "\n")
    print(path.name, len(client.trace.records), "records")


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for suite in (PQ, RSA):
        for who, user_key in (("anonymous", None), ("user", CLIENT_SETTINGS.user_key)):
            settings = replace(CLIENT_SETTINGS, suite=suite, user_key=user_key)
            write(VECTORS / f"{suite}-{who}.json", settings, SERVER_SETTINGS, talk, serve)
    settings = replace(CLIENT_SETTINGS, certificate=CERTIFICATE)
    server_settings = replace(SERVER_SETTINGS, authorized={}, authorities={AUTHORITY.ca: {b"chat": "alice"}})
    write(VECTORS / f"{PQ}-certificate.json", settings, server_settings, talk, serve)
    server_settings = replace(SERVER_SETTINGS, next_host_key=Ed25519PrivateKey.from_private_bytes(b"\x04" * 32))
    write(VECTORS / f"{PQ}-hostkey.json", CLIENT_SETTINGS, server_settings, talk, serve)
    api = replace(SERVER_SETTINGS, api=True)
    write(VECTORS / f"{PQ}-calls.json", CLIENT_SETTINGS, api, talk_and_call, serve_calls)


if __name__ == "__main__":
    main()
