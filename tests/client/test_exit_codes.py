"""The exit codes, which scripts rely on."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.exit_codes import ExitCode, NoApiError, NotConnectedError, exit_code
from securechat.errors import (
    AuthenticationError,
    Category,
    ConfigurationError,
    LocalProtocolError,
    RemoteProtocolError,
    SecureChatError,
)


class ExitCodeTests(SynchronousTestCase):
    """From errors to exit codes."""

    def test_numbers(self) -> None:
        """The numbers are those that --help lists."""
        self.assertEqual(
            {code.name: code.value for code in ExitCode},
            {
                "ANSWERED": 0,
                "USAGE": 2,
                "NOT_CONNECTED": 3,
                "NOT_TRUSTED": 4,
                "FAULT": 5,
                "NO_API": 6,
                "INTERRUPTED": 130,
            },
        )

    def test_beforeAdmission(self) -> None:
        """Before admission, a failed authentication differs from a failed connection and from wrong usage."""
        for error, code in (
            (ConfigurationError("x"), 2),
            (NotConnectedError("x"), 3),
            (RemoteProtocolError(Category.CUT), 3),
            (RemoteProtocolError(Category.TIMEOUT), 3),
            (LocalProtocolError("x"), 3),
            (SecureChatError("x"), 3),
            (AuthenticationError(Category.HOST_KEY), 4),
            (AuthenticationError(Category.USER_KEY), 4),
            (NoApiError("x"), 6),
        ):
            self.assertEqual(exit_code(error, admitted=False), code, error)

    def test_afterAdmission(self) -> None:
        """After admission, whatever ends the session has cost a reply."""
        for error in (
            RemoteProtocolError(Category.CUT),
            RemoteProtocolError(Category.RECORD),
            AuthenticationError(Category.PROOF),
            SecureChatError("x"),
        ):
            self.assertEqual(exit_code(error, admitted=True), 5, error)
