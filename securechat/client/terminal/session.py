"""The server and a session with it, as they are described to the user."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from securechat.client.host_key_check import HostKeyCheck
from securechat.client.protocol import ChatClient
from securechat.client.sanitize import sanitize_line
from securechat.client.terminal.lines import shorten
from securechat.client.terminal.styles import Row, Style
from securechat.i18n import _
from securechat.ssh import keys
from securechat.wire.events import Admitted

SHORT_FINGERPRINT: Final = 11  # characters, SHA256: included
MAX_NAME: Final = 60  # columns of a name that the server has chosen
MAX_STEPS: Final = 16  # of handshakes that are kept for /info


@dataclass(frozen=True, slots=True)
class Server:
    """The server to which the client connects."""

    name: str  # [host]:port
    host_key_check: HostKeyCheck
    steps: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_STEPS))  # of the latest handshakes


class Session:
    """A session that the server has admitted, and the names of its ends as they are displayed."""

    def __init__(self, client: ChatClient, about: Admitted) -> None:
        self.client = client
        self.about = about
        self.user = shorten(about.user, MAX_NAME) or _("anonymous")
        self.robot = shorten(about.robot, MAX_NAME) or _("robot")

    def has_ends_of(self, other: "Session") -> bool:
        """Whether the user, the robot and the server's key are those of another session."""
        return (self.user, self.robot, self.client.host_key) == (other.user, other.robot, other.client.host_key)


def greeting(server: Server, session: Session) -> Row:
    """The first row of a conversation: the ends of the session."""
    verdict = _(server.host_key_check.verdict)
    fingerprint = keys.fingerprint(session.client.host_key)
    hint = _("/help for help")
    return [
        (Style.NOTICE, f"{server.name} · {fingerprint[:SHORT_FINGERPRINT]}… {verdict} · "),
        (Style.USER, session.user),
        (Style.NOTICE, " → "),
        (Style.ROBOT, session.robot),
        (Style.NOTICE, f" · {hint}"),
    ]


def info_lines(server: Server, session: Session) -> list[str]:
    """The texts of /info."""
    about = session.about
    shaping = _("{mode}, a tick every {tick} ms, {width} records a tick").format(
        mode=about.shaping.name.lower(), tick=about.tick, width=about.width
    )
    values = (
        (_("server"), server.name),
        (_("software"), sanitize_line(about.software)),
        (_("host key"), keys.fingerprint(session.client.host_key)),
        (_("user"), session.user),
        (_("robot"), session.robot),
        (_("longest message"), _("{size} bytes").format(size=about.max_message)),
        (_("shaping"), shaping),
    )
    return [*(_("{name}: {value}").format(name=name, value=value) for name, value in values), *server.steps]
