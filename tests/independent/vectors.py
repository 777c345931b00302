"""``python -m tests.independent.vectors`` writes tests/vectors/*.json: one session per suite and kind of client."""

import json
from dataclasses import replace
from pathlib import Path

from tests.independent.capture import converse
from tests.independent.client import Client
from tests.independent.records import CANCEL, NEW, PAD, REKEY
from tests.independent.reference import CLIENT_SETTINGS, SERVER_SETTINGS
from tests.independent.server import Server
from tests.independent.suites import PQ, RSA

VECTORS = Path(__file__).parent.parent / "vectors"
TEXTS = ("你好", "x" * 1200, "")


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


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for suite in (PQ, RSA):
        for who, user_key in (("anonymous", None), ("user", CLIENT_SETTINGS.user_key)):
            settings = replace(CLIENT_SETTINGS, suite=suite, user_key=user_key)
            client, _server, _tap, category = converse(settings, SERVER_SETTINGS, talk, serve)
            assert category is None, category
            path = VECTORS / f"{suite}-{who}.json"
            path.write_text(json.dumps(client.trace.as_json(), indent=1) + "\n")
            print(path.name, len(client.trace.records), "records")


if __name__ == "__main__":
    main()
