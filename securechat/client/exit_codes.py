"""The exit codes of the program."""

from enum import IntEnum
from typing import Final

from securechat.errors import AuthenticationError, ConfigurationError, SecureChatError
from securechat.i18n import N_


class ExitCode(IntEnum):
    """An exit code. A program that was ended by a signal exits with 128 plus the signal's number."""

    ANSWERED = 0
    USAGE = 2
    NOT_CONNECTED = 3
    NOT_TRUSTED = 4
    FAULT = 5
    NO_API = 6
    INTERRUPTED = 130


EXIT_STATUSES: Final = (
    (ExitCode.ANSWERED, N_("all messages were answered, or --serve was ended by a signal")),
    (ExitCode.USAGE, N_("usage or configuration error")),
    (ExitCode.NOT_CONNECTED, N_("connection failed")),
    (ExitCode.NOT_TRUSTED, N_("authentication failed")),
    (ExitCode.FAULT, N_("a reply failed or is incomplete")),
    (ExitCode.NO_API, N_("the server offers no API")),
    (ExitCode.INTERRUPTED, N_("interrupted")),
)


class NotConnectedError(SecureChatError):
    """The connection could not be established; the message says why."""


class NoApiError(SecureChatError):
    """The server does not offer its API to this user; the message says so."""


def exit_code(error: SecureChatError, *, admitted: bool) -> ExitCode:
    """The exit code for an error, before or after the server admitted the client."""
    match error:
        case ConfigurationError():
            return ExitCode.USAGE
        case NotConnectedError():
            return ExitCode.NOT_CONNECTED
        case NoApiError():
            return ExitCode.NO_API
        case AuthenticationError() if not admitted:
            return ExitCode.NOT_TRUSTED
        case _:
            return ExitCode.FAULT if admitted else ExitCode.NOT_CONNECTED
