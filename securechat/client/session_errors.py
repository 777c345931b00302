"""The errors that end a session, and their explanations to the user."""

from collections.abc import Sequence

from securechat.client.explain import of_denial
from securechat.errors import AuthenticationError, Category, RemoteProtocolError, SecureChatError
from securechat.i18n import _
from securechat.wire.connection import State


class PermissionDeniedError(AuthenticationError):
    """The server closed the connection after the client's proof, probably because it does not accept the key."""


def of_timeout() -> RemoteProtocolError:
    """The server has not sent in time what the handshake requires."""
    return RemoteProtocolError(Category.TIMEOUT, _("timed out waiting for the server"))


def of_silence(seconds: float) -> RemoteProtocolError:
    """The server has sent nothing for so long, although records were expected."""
    return RemoteProtocolError(
        Category.TIMEOUT,
        _("timed out: the server has sent nothing for {seconds} seconds").format(seconds=round(seconds)),
    )


def of_first_frame(error: SecureChatError) -> SecureChatError:
    """The error to report if the server's first frame is invalid: it is probably not a securechat server."""
    if isinstance(error, RemoteProtocolError) and not isinstance(error, AuthenticationError):
        return RemoteProtocolError(
            error.category,
            _("the server does not speak securechat/1 ({category}); check the host and the port").format(
                category=error.category
            ),
        )
    return error


def of_cut(state: State, category: Category, name: str, fingerprints: Sequence[str]) -> RemoteProtocolError:
    """Why the stream may have ended without GOODBYE, guessed from the state (protocol, section 12).

    `name` is the server's, and `fingerprints` are those of the keys that were offered, as in `of_denial`.
    """
    if state is State.ABOUT:
        return PermissionDeniedError(category, of_denial(name, fingerprints))
    if state in (State.SIGNING, State.OPEN):
        return RemoteProtocolError(category, _("the connection was closed unexpectedly"))
    return RemoteProtocolError(category, _("the server closed the connection during the handshake"))
