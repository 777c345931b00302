"""What can go wrong, one class for each kind of answer to it."""

from enum import IntEnum, StrEnum

from securechat.i18n import _


class Category(StrEnum):
    """Why a connection was aborted: the one word that a log line may say of it."""

    FRAMING = "framing"  # a length that no frame of this state has
    MALFORMED = "malformed"  # not the one encoding of a message of this type
    VERSION = "version"
    SUITE = "suite"  # unknown, not allowed here, or not the one asked for
    DIGEST = "digest"  # a public key or sealed secret that is not what its SHA-256 says
    KEY = "key"  # a public key of a form that the suite does not take
    SEAL = "seal"  # a sealed secret that does not open to 32 bytes
    PROOF = "proof"  # a signature or MAC that does not verify
    HOST_KEY = "host-key"  # the server's key: not acceptable, unknown, changed or revoked
    NAME = "name"  # the client dialled a name that is not one of the server's
    USER_KEY = "user-key"  # the client's key: not acceptable, not authorized, or missing
    RECORD = "record"  # a record that does not open, or whose padding or number is wrong
    ORDER = "order"  # a record of a type, side or id whose turn it is not
    REKEY = "rekey"  # too many REKEYs, or too few
    MESSAGE = "message"  # a message that is too long or not UTF-8
    TIMEOUT = "timeout"
    LIMIT = "limit"  # more than this source, or the server, may have
    CUT = "cut"  # the stream ended without GOODBYE


class SecureChatError(Exception):
    """Everything that securechat raises on purpose; `str()` of it is fit for a user."""


class LocalProtocolError(SecureChatError):
    """Our own program asked the channel for something that its state does not allow: a bug."""


class RemoteProtocolError(SecureChatError):
    """The peer broke the protocol. The connection is over; nothing is sent to the peer about it."""

    def __init__(self, category: Category, message: str | None = None) -> None:
        super().__init__(message or _("the peer broke the protocol ({category})").format(category=category))
        self.category = category


class AuthenticationError(RemoteProtocolError):
    """Someone is not who they should be, or what came is not what was sent."""

    def __init__(self, category: Category, message: str | None = None) -> None:
        super().__init__(category, message or _("authentication failed"))


class ConfigurationError(SecureChatError):
    """A file, option or environment variable that the user can put right; the message says how."""


class Fault(IntEnum):
    """What went wrong with a reply, as a FAULT record says it (protocol, section 8)."""

    UNREACHABLE = 1
    REFUSED = 2
    TOO_LONG = 3
    TIMED_OUT = 4
    BROKEN_ANSWER = 5
    BUSY = 6
    CANCELLED = 7
    TOO_MANY_MESSAGES = 8
    INTERNAL = 9


class RobotError(SecureChatError):
    """A robot could not answer. `fault` is what the user hears; the message is for the operator's log.

    The message must hold neither the conversation's text nor a key. `retry_after`, if known, says in how many seconds
    asking this robot again may help.
    """

    def __init__(self, fault: Fault, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.fault = fault
        self.retry_after = retry_after
