"""The exceptions of securechat."""

from enum import IntEnum, StrEnum

from securechat.i18n import _


class Category(StrEnum):
    """Why a connection was aborted. A log line names the category and nothing else (protocol, section 12)."""

    FRAMING = "framing"  # a frame length that is not valid in this state
    MALFORMED = "malformed"  # not a valid message, or not in its canonical encoding
    VERSION = "version"
    SUITE = "suite"  # unknown, not enabled here, or not the one requested
    DIGEST = "digest"  # a public key or sealed secret that does not match its SHA-256 digest
    KEY = "key"  # a public key that is not valid for the suite
    SEAL = "seal"  # a sealed secret that does not decrypt to 32 bytes
    PROOF = "proof"  # a signature or MAC that does not verify
    HOST_KEY = "host-key"  # the server's key: invalid, unknown, changed or revoked
    NAME = "name"  # the client connected to a name that is not one of the server's
    USER_KEY = "user-key"  # the client's key: invalid, not authorized, or missing
    RECORD = "record"  # a record that does not decrypt, or has wrong padding or a wrong sequence number
    ORDER = "order"  # a record whose type, direction or message id is not valid now
    REKEY = "rekey"  # too many REKEYs, or too few
    MESSAGE = "message"  # a message that is too long or not valid UTF-8
    TIMEOUT = "timeout"
    LIMIT = "limit"  # a limit on connections, per source address or for the server, was exceeded
    CUT = "cut"  # the stream ended without a GOODBYE


class SecureChatError(Exception):
    """The base class; `str()` of an instance can be shown to the user."""


class LocalProtocolError(SecureChatError):
    """A connection was used in a way that its state does not allow: a bug in this program."""


class RemoteProtocolError(SecureChatError):
    """The peer violated the protocol. The connection is aborted, and nothing is sent to the peer."""

    def __init__(self, category: Category, message: str | None = None) -> None:
        super().__init__(message or _("the peer violated the protocol ({category})").format(category=category))
        self.category = category


class AuthenticationError(RemoteProtocolError):
    """The peer's identity, or the integrity of its data, could not be verified."""

    def __init__(self, category: Category, message: str | None = None) -> None:
        super().__init__(category, message or _("authentication failed"))


class ConfigurationError(SecureChatError):
    """A file, option or environment variable is wrong; the message says how to correct it."""


class Fault(IntEnum):
    """Why a reply failed: the code in a FAULT record (protocol, section 8)."""

    UNREACHABLE = 1
    REFUSED = 2
    TOO_LONG = 3
    TIMED_OUT = 4
    BROKEN_ANSWER = 5
    BUSY = 6
    CANCELLED = 7
    TOO_MANY_MESSAGES = 8
    INTERNAL = 9
    NOT_FOUND = 10
    NOT_ALLOWED = 11
    LIMIT_REACHED = 12


class RobotError(SecureChatError):
    """A robot could not reply. `fault` is reported to the user, the message goes to the operator's log.

    The message must contain neither text of the conversation nor a key. `retry_after` is the number of seconds after
    which a retry may succeed, if known.
    """

    def __init__(self, fault: Fault, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.fault = fault
        self.retry_after = retry_after
