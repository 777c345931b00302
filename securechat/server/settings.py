"""The settings of the daemon, except for its robots."""

import os
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final

import platformdirs
from msgspec import Meta, field

from securechat.i18n import N_, _
from securechat.server.ledger.uri import parse_uri
from securechat.server.limits import UserLimits
from securechat.settings import UNBOUNDED, Settings, default_path
from securechat.wire.host_names import bracketed, canonical_host
from securechat.wire.messages import MaxMessage, Width
from securechat.wire.shaping import MAX_TICK, MIN_TICK, Shaping
from securechat.wire.suites import SUITES, Suite

MAX_DRAIN: Final = 3600
ROOT_STATE_DIR: Final = Path("/var/lib/securechat")
HOST_KEY_NAME: Final = "ssh_host_ed25519_key"  # in the state directory

MAX_TEXT: Final = 1024 * 1024  # bytes of a message or a reply, which are text for a person
MAX_API: Final = 16 * 1024 * 1024  # bytes of an API request, which may contain images, or of its response

Count = Annotated[int, Meta(ge=1, le=UNBOUNDED)]
Seconds = Annotated[float, Meta(gt=0, le=UNBOUNDED, extra={"unit": N_("seconds")})]


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return ROOT_STATE_DIR
    return default_path(platformdirs.user_state_path, "state-dir")


def _canonical_name(text: str) -> str:
    """``[host]:port`` with the host in its canonical form, and without a zone, as clients name the server."""
    host, colon, port = text.rpartition(":")
    try:
        if not (host.startswith("[") and host.endswith("]") and colon and 0 < int(port) < 2**16):
            raise ValueError
        return bracketed(canonical_host(host[1:-1].partition("%")[0]), int(port))
    except ValueError:
        raise ValueError(_("expected [HOST]:PORT, for example [chat.example.org]:8080")) from None


class LogFormat(StrEnum):
    """The format of the log."""

    TEXT = "text"
    JSON = "json"


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise ValueError(_("expected an IP address, or a network such as 10.0.0.0/8")) from None


class CommandLineSettings(Settings, frozen=True):
    """What can be set on the command line only."""

    config: Annotated[
        Path | None,
        Meta(description=N_("Configuration file, in TOML; options on the command line take precedence")),
    ] = None

    check_config: Annotated[
        bool, Meta(description=N_("Check the options and the files that they name, and exit with 0 or 2"))
    ] = False


class ServerSettings(UserLimits, frozen=True):
    """What an operator can set, with the limits of users who have no limits of their own."""

    listen: Annotated[
        tuple[str, ...],
        Meta(description=N_("Twisted endpoint to listen on; can be repeated"), extra={"at_start": True}),
    ] = ("tcp:8080:interface=127.0.0.1",)

    proxy_from: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("Comma-separated list of the addresses or networks of proxies, for endpoints with haproxy:"),
            extra={"parse": _network, "commas": True, "default": N_("this machine"), "at_start": True},
        ),
    ] = ("127.0.0.0/8", "::1/128")

    names: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("Name that clients use for this server, as [HOST]:PORT; can be repeated"),
            extra={
                "parse": _canonical_name,
                "default": N_("the address that the client reached, localhost and this machine's host name"),
            },
        ),
    ] = field(default=(), name="name")

    state_dir: Annotated[
        Path,
        Meta(
            description=N_("Directory for the host key and the usage of users"),
            extra={
                "default": N_("/var/lib/securechat for root, otherwise ~/.local/state/securechat"),
                "at_start": True,
            },
        ),
    ] = field(default_factory=_default_state_dir)

    host_key: Annotated[
        Path | None,
        Meta(
            description=N_("Private host key, in OpenSSH's format; created if it does not exist"),
            extra={"default": N_("a file in the state directory"), "at_start": True},
        ),
    ] = None

    next_host_key: Annotated[
        Path | None,
        Meta(
            description=N_("Private key that will replace the host key; announced to clients, which then accept both"),
            extra={"default": N_("none"), "at_start": True},
        ),
    ] = None

    authorized_keys: Annotated[
        Path | None,
        Meta(
            description=N_("Admit only users whose key is in this file, in OpenSSH's format"),
            extra={"default": N_("admit everyone")},
        ),
    ] = None

    authorized_keys_command: Annotated[
        str | None,
        Meta(
            description=N_("Program, as an absolute path with arguments, that prints the authorized keys for a key"),
            extra={"default": N_("none")},
        ),
    ] = None

    revoked_keys: Annotated[
        Path | None,
        Meta(description=N_("Admit no user whose key is in this file, as a public key or its SHA256 fingerprint")),
    ] = None

    anyone: Annotated[
        bool,
        Meta(description=N_("Without authorized keys, listen on addresses that other machines can reach")),
    ] = False

    suites: Annotated[
        tuple[bytes, ...],
        Meta(
            description=N_("Comma-separated list of cipher suites to allow"),
            extra={"choices": {name.decode(): name for name in SUITES}, "commas": True, "default": N_("all")},
        ),
    ] = tuple(SUITES)

    shaping: Annotated[
        Shaping,
        Meta(
            description=N_(
                "What the timing of a reply reveals of its length: reply (a rounded length), constant (nothing), "
                "off (everything)"
            )
        ),
    ] = Shaping.REPLY

    tick: Annotated[
        float,
        Meta(
            ge=MIN_TICK,
            le=MAX_TICK,
            description=N_("Time between records"),
            extra={"unit": N_("seconds"), "at_start": True},
        ),
    ] = 0.1

    width: Annotated[Width, Meta(description=N_("Records per tick"))] = 1

    max_message: Annotated[
        MaxMessage | None,
        Meta(
            description=N_("Maximum size of a message or API request"),
            extra={"unit": N_("bytes"), "default": N_("1048576 bytes, with --api 16777216 bytes")},
        ),
    ] = None

    max_buffered: Annotated[
        Count,
        Meta(
            description=N_(
                "Maximum size of all messages that have not been answered; one user or source may hold an eighth"
            ),
            extra={"unit": N_("bytes"), "at_start": True},
        ),
    ] = 256 * 1024 * 1024

    max_reply: Annotated[
        Count | None,
        Meta(
            description=N_("Maximum size of a reply, or of the response to an API request; the robot is stopped there"),
            extra={"unit": N_("bytes"), "default": N_("1048576 bytes for a reply, 16777216 bytes for a response")},
        ),
    ] = None

    history_turns: Annotated[
        Count,
        Meta(description=N_("Maximum number of turns in a conversation's history; a message and its reply are two")),
    ] = 40

    history_bytes: Annotated[
        Count,
        Meta(description=N_("Maximum size of a conversation's history"), extra={"unit": N_("bytes")}),
    ] = 64 * 1024  # a few thousand words, which fit into the context of most language models

    max_sessions: Annotated[Count, Meta(description=N_("Maximum number of concurrent sessions"))] = 1000

    max_sessions_per_user: Annotated[
        Count, Meta(description=N_("Maximum number of concurrent sessions of one authorized user"))
    ] = 16

    max_sessions_per_source: Annotated[
        Count,
        Meta(
            description=N_(
                "Maximum number of concurrent sessions, other than those of authorized users, from one IPv4 address or "
                "IPv6 /64 network"
            )
        ),
    ] = 16

    idle_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=UNBOUNDED,
            description=N_("Time without a message after which a session is closed; 0 for no limit"),
            extra={"unit": N_("seconds")},
        ),
    ] = 3600.0

    max_handshakes: Annotated[
        Count,
        Meta(
            description=N_(
                "Maximum number of concurrent handshakes; further ones replace the oldest of the busiest source"
            )
        ),
    ] = 500

    max_handshakes_per_source: Annotated[
        Count, Meta(description=N_("Maximum number of concurrent handshakes from one address or network"))
    ] = 4

    handshake_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=UNBOUNDED,
            description=N_("Maximum rate of handshakes from one address or network"),
            extra={"unit": N_("per second")},
        ),
    ] = 2.0

    handshake_burst: Annotated[
        Count, Meta(description=N_("Handshakes from one address or network before the maximum rate applies"))
    ] = 10

    message_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=UNBOUNDED,
            description=N_("Maximum rate of messages from an authorized user, or else from one address or network"),
            extra={"unit": N_("per second")},
        ),
    ] = 1.0

    message_burst: Annotated[Count, Meta(description=N_("Messages before the maximum rate applies"))] = 20

    api: Annotated[
        bool, Meta(description=N_("Accept API requests, which users' tools send through securechat --serve"))
    ] = False

    call_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=UNBOUNDED,
            description=N_("Maximum rate of API requests from an authorized user, or else from one address or network"),
            extra={"unit": N_("per second")},
        ),
    ] = 5.0

    call_burst: Annotated[Count, Meta(description=N_("API requests before the maximum rate applies"))] = 50

    hello_timeout: Annotated[Seconds, Meta(description=N_("Time allowed for a client to begin the handshake"))] = 5.0

    proof_timeout: Annotated[
        Seconds,
        Meta(description=N_("Time allowed for a client to authenticate; its ssh-agent may have to prompt the user")),
    ] = 30.0

    drain: Annotated[
        float,
        Meta(
            ge=0,
            le=MAX_DRAIN,
            description=N_("Time for replies in progress to finish when the daemon stops"),
            extra={"unit": N_("seconds")},
        ),
    ] = 60.0

    ledger: Annotated[
        str | None,
        Meta(
            description=N_("PostgreSQL database for the usage of users, shared by several daemons, as a URI of libpq"),
            extra={
                "parse": parse_uri,
                "private": True,
                "default": N_("usage.sqlite in the state directory"),
                "at_start": True,
            },
        ),
    ] = None

    ledger_password_file: Annotated[
        Path | None,
        Meta(
            description=N_("File with the password of that database, readable only by its owner"),
            extra={"default": N_("none: libpq's own password file, or a login without password"), "at_start": True},
        ),
    ] = None

    usage_days: Annotated[
        Count,
        Meta(
            description=N_("Number of days for which the usage of users is kept, not counting days without any"),
            extra={"at_start": True},
        ),
    ] = 400

    allow_root: Annotated[
        bool, Meta(description=N_("Run as root if twistd's --uid is not used"), extra={"at_start": True})
    ] = False

    log_format: Annotated[
        LogFormat,
        Meta(description=N_("Format of the log: text (lines), json (one object per line)"), extra={"at_start": True}),
    ] = LogFormat.TEXT

    metrics: Annotated[
        str | None,
        Meta(
            description=N_("Twisted endpoint on which Prometheus reads metrics over HTTP"),
            extra={"default": N_("none"), "at_start": True},
        ),
    ] = None

    metrics_users: Annotated[
        bool, Meta(description=N_("Count by authorized user in the metrics, too"), extra={"at_start": True})
    ] = False

    metrics_public: Annotated[
        bool,
        Meta(description=N_("Allow addresses of --metrics that other machines can reach"), extra={"at_start": True}),
    ] = False

    control: Annotated[
        Path | None,
        Meta(
            description=N_("UNIX socket for securechat-ctl"),
            extra={"default": N_("none"), "at_start": True},
        ),
    ] = None

    log_text: Annotated[bool, Meta(description=N_("Log the text of messages, at debug level"))] = False

    @property
    def has_users(self) -> bool:
        """Whether only authorized users are admitted."""
        return self.authorized_keys is not None or self.authorized_keys_command is not None

    @property
    def host_key_path(self) -> Path:
        """The file with the private host key."""
        return self.host_key or self.state_dir / HOST_KEY_NAME

    @property
    def allowed_suites(self) -> dict[bytes, Suite]:
        """The cipher suites by name."""
        return {name: SUITES[name] for name in self.suites}

    @property
    def message_limit(self) -> int:
        """Bytes of the longest message or API request."""
        return self.max_message or (MAX_API if self.api else MAX_TEXT)

    @property
    def reply_limit(self) -> int:
        """Bytes of the longest reply to a message."""
        return self.max_reply or MAX_TEXT

    @property
    def response_limit(self) -> int:
        """Bytes of the longest response to an API request."""
        return self.max_reply or MAX_API
