"""The settings of the client."""

import re
from pathlib import Path
from typing import Annotated, Final

import platformdirs
from msgspec import Meta, field

from securechat.client.destination import DEFAULT_HOST, DEFAULT_PORT, Destination, parse_destination
from securechat.client.sanitize import is_text
from securechat.i18n import N_, _
from securechat.settings import Settings, default_path
from securechat.wire.suites import DEFAULT_SUITE, SUITES

_FINGERPRINT: Final = re.compile("(SHA256:[A-Za-z0-9+/]{43})=?")  # 32 bytes in base64; ssh-keygen omits the padding


def _default_known_hosts() -> Path:
    return default_path(platformdirs.user_data_path, "known-hosts") / "known_hosts"


def _destination(text: str) -> Destination:
    try:
        return parse_destination(text)
    except ValueError:
        raise ValueError(_("expected HOST, HOST:PORT or [ADDRESS]:PORT")) from None


def _fingerprint(text: str) -> str:
    match = _FINGERPRINT.fullmatch(text)
    if match is None:
        raise ValueError(_("expected SHA256: and 43 characters, as ssh-keygen -l prints it"))
    return match[1]


def _message(text: str) -> str:
    if not is_text(text):
        raise ValueError(_("not text in UTF-8"))
    return text


class ClientSettings(Settings, frozen=True):
    """What a user can set."""

    destination: Annotated[
        Destination,
        Meta(
            description=N_("the server"),
            extra={
                "parse": _destination,
                "default": f"{DEFAULT_HOST}:{DEFAULT_PORT}",
                "metavar": "HOST[:PORT]",
                "positional": True,
            },
        ),
    ] = Destination(DEFAULT_HOST, DEFAULT_PORT)

    identity: Annotated[
        Path | None,
        Meta(
            description=N_("your private Ed25519 key, or the public key of one in ssh-agent"),
            extra={"letter": "i", "metavar": N_("FILE")},
        ),
    ] = None

    agent: Annotated[bool, Meta(description=N_("authenticate with the keys in ssh-agent"))] = False

    known_hosts: Annotated[
        Path,
        Meta(
            description=N_("host keys of known servers, in OpenSSH's format"),
            extra={"metavar": N_("FILE"), "default": N_("~/.local/share/securechat/known_hosts")},
        ),
    ] = field(default_factory=_default_known_hosts)

    host_key: Annotated[
        str | None,
        Meta(
            description=N_("connect only to a server whose host key has this fingerprint"),
            extra={"parse": _fingerprint, "metavar": "SHA256:…"},
        ),
    ] = None

    accept_new: Annotated[
        bool, Meta(description=N_("accept and save the host key of an unknown server without asking"))
    ] = False

    suite: Annotated[
        bytes,
        Meta(
            description=N_("cipher suite"),
            extra={"choices": {name.decode(): name for name in SUITES}, "metavar": N_("NAME")},
        ),
    ] = DEFAULT_SUITE

    messages: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("send this message, print the reply and exit; can be repeated"),
            extra={"parse": _message, "letter": "m", "metavar": N_("TEXT"), "private": True},
        ),
    ] = field(default=(), name="message")

    verbose: Annotated[bool, Meta(description=N_("print debugging messages"), extra={"letter": "v"})] = False

    no_history: Annotated[bool, Meta(description=N_("neither read nor keep the history of what you type"))] = False
