"""The session of a client that has just been admitted, and its pace."""

from collections.abc import Callable

from securechat.server.admission import Holder
from securechat.server.authorization import Authorization
from securechat.server.history import History
from securechat.server.interface import Server
from securechat.server.outbox import Outbox
from securechat.server.pacing import Pace, Ticking
from securechat.server.session import Session, User
from securechat.wire.server_connection import ServerConnection
from securechat.wire.shaping import Shaping, Train


def shaped_pace(
    server: Server, connection: ServerConnection, outbox: Outbox, write: Callable[[bytes], None]
) -> Ticking | None:
    """The pace of a session whose records leave at ticks; None without shaping."""
    settings = server.settings
    if settings.shaping is Shaping.OFF:
        return None
    train = Train(server.tick, endless=settings.shaping is Shaping.CONSTANT)
    return Ticking(connection, outbox, write, server.beat, train, settings.width)


def open_session(
    server: Server,
    connection: ServerConnection,
    outbox: Outbox,
    pace: Pace,
    authorization: Authorization,
    source: Holder,
) -> Session:
    """A session with an empty history. `source` is the client's."""
    settings = server.settings
    history = History(settings.history_turns, settings.history_bytes, connection.forget)
    if authorization.authorized_key:
        pseudonym = server.pseudonyms.of(authorization.identity, "")
        account = server.accounts.of_user(authorization.user)
    else:
        pseudonym = server.pseudonyms.of(authorization.identity, source.lane)
        account = server.accounts.of_source(source)
    return Session(server.current_robot, User(pseudonym, account), history, outbox, pace, server.clock)
