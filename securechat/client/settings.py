"""The settings of the client."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final

import platformdirs
from msgspec import Meta, field

from securechat.client.api.address import ServeAddress, parse_address
from securechat.client.destination import DEFAULT_HOST, DEFAULT_PORT, Destination, parse_destination
from securechat.client.sanitize import is_text
from securechat.errors import ConfigurationError
from securechat.i18n import N_, _
from securechat.settings import Settings, default_path, options_of
from securechat.wire.suites import DEFAULT_SUITE, SUITES

_FINGERPRINT: Final = re.compile("(SHA256:[A-Za-z0-9+/]{43})=?")  # 32 bytes in base64; ssh-keygen omits the padding
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*@?#,]+")


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


def _serve_address(text: str) -> ServeAddress:
    try:
        return parse_address(text)
    except ValueError:
        raise ValueError(_("expected PORT, ADDRESS:PORT, [IPV6-ADDRESS]:PORT or unix:PATH")) from None


def _origin(text: str) -> str:
    if _ORIGIN.fullmatch(text.lower()) is None:
        raise ValueError(_("expected an origin as browsers send it, such as http://localhost:3000"))
    return text.lower()


_SERVE_OPTIONS: Final = frozenset(
    {
        *("serve_sessions", "serve_key_file", "serve_open", "serve_origins", "serve_any_address"),
        "print_env",
    }
)
_BATCH_OPTIONS: Final = frozenset({"messages", "stdin", "lines", "json", "wait"})


class ClientSettings(Settings, frozen=True):
    """What a user can set."""

    destination: Annotated[
        Destination,
        Meta(
            description=N_("the server, or its name in the configuration file"),
            extra={
                "parse": _destination,
                "default": f"{DEFAULT_HOST}:{DEFAULT_PORT}",
                "metavar": "HOST[:PORT]",
                "positional": True,
            },
        ),
    ] = Destination(DEFAULT_HOST, DEFAULT_PORT)

    config: Annotated[
        Path | None,
        Meta(
            description=N_("configuration file, with these options and names of servers, in TOML"),
            extra={
                "command_line_only": True,
                "letter": "F",
                "metavar": N_("FILE"),
                "default": N_("~/.config/securechat/client.toml, if it exists"),
            },
        ),
    ] = None

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
            extra={"command_line_only": True, "parse": _message, "letter": "m", "metavar": N_("TEXT"), "private": True},
        ),
    ] = field(default=(), name="message")

    stdin: Annotated[
        bool,
        Meta(
            description=N_("send all of standard input as one message, below the first -m; the default for a pipe"),
            extra={"command_line_only": True, "letter": ""},
        ),
    ] = False

    lines: Annotated[
        bool,
        Meta(
            description=N_("send each line of standard input as a message"),
            extra={"command_line_only": True},
        ),
    ] = False

    json: Annotated[
        bool,
        Meta(
            description=N_("print a JSON object for each message, on one line, when its reply has ended"),
            extra={"command_line_only": True},
        ),
    ] = False

    wait: Annotated[
        bool,
        Meta(
            description=N_(
                "after the last reply, wait in the foreground until the connection can be closed without revealing the "
                "reply's length, and not in the background"
            )
        ),
    ] = False

    serve: Annotated[
        ServeAddress | None,
        Meta(
            description=N_(
                "serve an OpenAI-compatible HTTP API on this port of this machine, or on unix:PATH, and pass its "
                "requests to the server"
            ),
            extra={"command_line_only": True, "parse": _serve_address, "metavar": "[ADDRESS:]PORT"},
        ),
    ] = None

    serve_sessions: Annotated[
        int,
        Meta(
            description=N_("requests of the API that are carried out at the same time, each in a session of its own"),
            ge=1,
            le=16,
            extra={"metavar": N_("NUMBER")},
        ),
    ] = 4

    serve_key_file: Annotated[
        Path | None,
        Meta(
            description=N_("file with the API key that the API's clients have to send"),
            extra={
                "metavar": N_("FILE"),
                "default": N_("~/.local/state/securechat/api_key, made when it is first needed"),
            },
        ),
    ] = None

    serve_open: Annotated[
        bool, Meta(description=N_("require no API key: every user and program on this machine may send requests"))
    ] = False

    serve_origins: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("allow requests from web pages of this origin; can be repeated"),
            extra={"parse": _origin, "metavar": "SCHEME://HOST[:PORT]"},
        ),
    ] = field(default=(), name="serve-origin")

    serve_any_address: Annotated[
        bool,
        Meta(
            description=N_(
                "let --serve listen on addresses that other machines can reach, unencrypted, as in a container"
            )
        ),
    ] = False

    print_env: Annotated[
        bool,
        Meta(
            description=N_("print the API's URL and key as shell commands, for eval, and exit"),
            extra={"command_line_only": True},
        ),
    ] = False

    quiet: Annotated[
        bool,
        Meta(
            description=N_("print only errors; with --serve, log no requests and show no status"), extra={"letter": "q"}
        ),
    ] = False

    verbose: Annotated[bool, Meta(description=N_("print debugging messages"), extra={"letter": "v"})] = False

    no_history: Annotated[bool, Meta(description=N_("neither read nor keep the history of what you type"))] = False

    save_conversations: Annotated[
        bool, Meta(description=N_("save each conversation held at a terminal, for --continue and --resume"))
    ] = False

    continue_latest: Annotated[
        bool,
        Meta(
            description=N_("continue the conversation saved last, on this server or another"),
            extra={"command_line_only": True},
        ),
    ] = field(default=False, name="continue")

    resume: Annotated[
        str | None,
        Meta(
            description=N_("continue the conversation saved under this name or in this file"),
            extra={"command_line_only": True, "metavar": N_("NAME|FILE")},
        ),
    ] = None


def check_together(settings: ClientSettings, given: Collection[str]) -> None:
    """ConfigurationError if options that were given, by their attributes, do not go together."""
    for name, value in (("message", settings.messages), ("stdin", settings.stdin)):
        if settings.lines and value:
            raise ConfigurationError(_("--lines and --{option} exclude each other").format(option=name))
    resumption = [name for name in ("continue_latest", "resume") if name in given]
    if len(resumption) > 1:
        raise ConfigurationError(_("--continue and --resume exclude each other"))
    if resumption and (settings.messages or settings.serve is not None):
        raise ConfigurationError(_("--continue and --resume require a terminal"))
    if settings.serve is None:
        for option in options_of(ClientSettings):
            if option.attribute in given and option.attribute in _SERVE_OPTIONS:
                raise ConfigurationError(_("--{option} requires --serve").format(option=option.name))
        return
    for option in options_of(ClientSettings):
        if option.attribute in given and option.attribute in _BATCH_OPTIONS:
            raise ConfigurationError(_("--serve and --{option} exclude each other").format(option=option.name))
    if settings.serve_open and settings.serve_key_file is not None:
        raise ConfigurationError(_("--serve-open and --serve-key-file exclude each other"))
    if settings.serve_open and settings.serve_any_address:
        raise ConfigurationError(
            _("--serve-open and --serve-any-address exclude each other: anyone on the network could send requests")
        )
    if not settings.serve.is_local and not settings.serve_any_address:
        text = _(
            "--serve {address}: other machines could connect to this address; use 127.0.0.1, or --serve-any-address if "
            "that is intended, as in a container: requests and the API key then cross the network unencrypted"
        )
        raise ConfigurationError(text.format(address=settings.serve))
