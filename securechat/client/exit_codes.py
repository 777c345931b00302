"""How the program ends: its exit code for each kind of end."""

from enum import IntEnum

from securechat.errors import AuthenticationError, ConfigurationError, SecureChatError


class ExitCode(IntEnum):
    """What the program tells whoever started it. A signal's number is added to 128."""

    ANSWERED = 0
    USAGE = 2
    NOT_CONNECTED = 3
    NOT_TRUSTED = 4
    FAULT = 5
    INTERRUPTED = 130


class NotConnectedError(SecureChatError):
    """There is no server to talk to; the message says why."""


def exit_code(error: SecureChatError, *, admitted: bool) -> ExitCode:
    """The code for what ended a session, before or after the server let us in."""
    match error:
        case ConfigurationError():
            return ExitCode.USAGE
        case NotConnectedError():
            return ExitCode.NOT_CONNECTED
        case AuthenticationError() if not admitted:
            return ExitCode.NOT_TRUSTED
        case _:
            return ExitCode.FAULT if admitted else ExitCode.NOT_CONNECTED
