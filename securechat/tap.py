"""``twistd securechat``: its options, and the one place where everything is joined."""

import os
import sys
from pathlib import Path
from typing import Any, Final

import platformdirs
from twisted.application.service import IService
from twisted.python import usage

from securechat import __version__
from securechat.clock import MonotonicReactor
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.registry import help_text, make_robots
from securechat.server.admission import Limits
from securechat.server.history import DEFAULT_BYTES, DEFAULT_TURNS, HistoryLimits
from securechat.server.protocol import ChatServerFactory, ServerSettings
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.service import ChatService, StartError
from securechat.server.users import Anyone, AuthorizedUsers
from securechat.ssh.private_keys import load_or_create_host_key
from securechat.wire.handshake import ServerIdentity
from securechat.wire.host_names import bracketed, canonical_host
from securechat.wire.shaping import DEFAULT_TICK, MAX_TICK, MIN_TICK, Shaping
from securechat.wire.suites import SUITES

DEFAULT_ENDPOINT: Final = "tcp:8080:interface=127.0.0.1"
DEFAULT_ROBOT: Final = "eliza"
HOST_KEY_NAME: Final = "ssh_host_ed25519_key"
MAX_LIMIT: Final = 10**9
ROOT_STATE_DIR: Final = Path("/var/lib/securechat")


def default_state_dir() -> Path:
    """Where a daemon keeps its host key: /var/lib/securechat for root, else XDG's state directory."""
    return ROOT_STATE_DIR if os.geteuid() == 0 else platformdirs.user_state_path("securechat")


def _limit(option: str, help_text: str, default: float) -> list[Any]:
    """A line of optParameters for a limit: of the type of its default, and above zero."""
    kind = type(default)

    def coerce(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = kind(0)
        if not 0 < number < MAX_LIMIT:
            raise usage.UsageError(_("--{option} {text}: a number above 0 is wanted").format(option=option, text=text))
        return number

    return [option, None, default, help_text, coerce]


def _shaping(text: str) -> Shaping:
    try:
        return Shaping(text)
    except ValueError:
        raise usage.UsageError(
            _("--shaping {text}: there are {kinds}").format(text=text, kinds=", ".join(Shaping))
        ) from None


def _tick(text: str) -> float:
    try:
        tick = float(text)
    except ValueError:
        tick = 0.0
    if not MIN_TICK <= tick <= MAX_TICK:
        raise usage.UsageError(
            _("--tick {text}: a number from {least} to {most} is wanted").format(
                text=text, least=MIN_TICK, most=MAX_TICK
            )
        )
    return tick


_LIMITS: Final = Limits()


class Options(usage.Options):
    """What an operator may choose."""

    synopsis = "[options]"
    longdesc = _("Put a chat robot on the network, behind an encrypted channel that hides size and pace.")

    optParameters = [  # noqa: RUF012 - twisted.python.usage wants it so
        ["state-dir", None, None, _("Directory of the host key [default: {path}]").format(path=default_state_dir())],
        ["host-key", None, None, _("OpenSSH private key of the server; made if it is not there")],
        ["authorized-keys", None, None, _("Let in only users whose key is in this file (OpenSSH's format)")],
        ["suites", None, None, _("Comma-separated suites to allow [default: all]")],
        [
            "shaping",
            None,
            Shaping.REPLY.value,
            _("What the pace of replies tells: reply (a bucket), constant (nothing), off (all)"),
            _shaping,
        ],
        ["tick", None, DEFAULT_TICK, _("Seconds from one record to the next"), _tick],
        _limit("history-turns", _("Turns of a conversation that are remembered"), DEFAULT_TURNS),
        _limit("history-bytes", _("… and how many bytes of them"), DEFAULT_BYTES),
        _limit("max-sessions", _("Sessions at once"), _LIMITS.max_sessions),
        _limit("max-sessions-per-source", _("… from one address"), _LIMITS.max_sessions_per_source),
        _limit("max-handshakes", _("Unfinished handshakes at once"), _LIMITS.max_handshakes),
        _limit("handshake-rate", _("Handshakes a second from one address"), _LIMITS.handshake_rate),
        _limit("handshake-burst", _("… and how many at once"), _LIMITS.handshake_burst),
        _limit("hello-timeout", _("Seconds for a client to begin"), _LIMITS.hello_timeout),
        _limit("proof-timeout", _("Seconds for a client to prove itself"), _LIMITS.proof_timeout),
    ]
    optFlags = [  # noqa: RUF012
        ["log-text", None, _("Log, at debug level, what users say")],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["name"] = []
        self["robots"] = []  # (name, ["option=value", …])

    def opt_listen(self, endpoint: str) -> None:
        self["listen"].append(endpoint)

    opt_listen.__doc__ = _("Twisted endpoint to listen on; may be given again [default: {endpoint}]").format(
        endpoint=DEFAULT_ENDPOINT
    )

    def opt_name(self, name: str) -> None:
        host, colon, port = name.rpartition(":")
        try:
            if not (host.startswith("[") and host.endswith("]") and colon and 0 < int(port) < 2**16):
                raise ValueError
            self["name"].append(bracketed(canonical_host(host[1:-1]), int(port)))
        except ValueError:
            raise usage.UsageError(
                _("--name {name}: write it as [HOST]:PORT, for instance [chat.example.org]:8080").format(name=name)
            ) from None

    opt_name.__doc__ = _(
        "What clients call this server, as [HOST]:PORT; may be given again [default: the address that they reached, "
        "localhost and this machine's name]"
    )

    def opt_robot(self, name: str) -> None:
        self["robots"].append((name, []))

    opt_robot.__doc__ = _(
        "Who answers; may be given again for who answers when the one before cannot; --help-robots lists them "
        "[default: {robot}]"
    ).format(robot=DEFAULT_ROBOT)

    def opt_robot_option(self, option: str) -> None:
        if not self["robots"]:
            self.opt_robot(DEFAULT_ROBOT)
        self["robots"][-1][1].append(option)

    opt_robot_option.__doc__ = _("Option of the robot before it, as NAME=VALUE; may be given again")
    opt_R = opt_robot_option

    def opt_help_robots(self) -> None:
        print(help_text())
        sys.exit(0)

    opt_help_robots.__doc__ = _("List the robots with their options, and exit")

    def opt_version(self) -> None:
        print(f"securechat {__version__}")
        sys.exit(0)

    opt_version.__doc__ = _("Print the version, and exit")

    def postOptions(self) -> None:
        self["listen"] = self["listen"] or [DEFAULT_ENDPOINT]
        self["robots"] = self["robots"] or [(DEFAULT_ROBOT, [])]
        if not self["name"] and any(endpoint.startswith("unix:") for endpoint in self["listen"]):
            raise usage.UsageError(_("an endpoint without an address needs --name [HOST]:PORT"))
        named = self["suites"].split(",") if self["suites"] is not None else [name.decode() for name in SUITES]
        for name in named:
            if name.encode() not in SUITES:
                raise usage.UsageError(
                    _("unknown suite {name}; there are {suites}").format(
                        name=name, suites=", ".join(known.decode() for known in SUITES)
                    )
                )
        self["suites"] = {name.encode(): SUITES[name.encode()] for name in named}


def makeService(options: Options) -> IService:
    """Everything that a daemon consists of, from its options."""
    from twisted.internet import reactor as installed

    reactor: Any = MonotonicReactor(installed)
    try:
        state_dir = Path(options["state-dir"] or default_state_dir())
        host_key = load_or_create_host_key(Path(options["host-key"] or state_dir / HOST_KEY_NAME))
        authorized = options["authorized-keys"]
        users = AuthorizedUsers(Path(authorized)) if authorized is not None else Anyone()
        chat = ServerSettings(
            identity=ServerIdentity(host_key, options["suites"], users.client_auth, users.is_authorized),
            users=users,
            pseudonyms=Pseudonyms(host_key),
            robot=make_robots(reactor, options["robots"], os.environ),
            names=frozenset(options["name"]),
            limits=Limits(
                max_sessions=options["max-sessions"],
                max_sessions_per_source=options["max-sessions-per-source"],
                max_handshakes=options["max-handshakes"],
                handshake_rate=options["handshake-rate"],
                handshake_burst=options["handshake-burst"],
                hello_timeout=options["hello-timeout"],
                proof_timeout=options["proof-timeout"],
            ),
            history=HistoryLimits(options["history-turns"], options["history-bytes"]),
            shaping=options["shaping"],
            tick=options["tick"],
            log_text=bool(options["log-text"]),
        )
        return ChatService(ChatServerFactory(chat, reactor), options["listen"], reactor)
    except (ConfigurationError, usage.UsageError) as error:
        raise StartError(f"securechat: {error}") from None
