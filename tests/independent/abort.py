"""The one exception of this implementation: the connection ends here, for a reason that has a name."""

CATEGORIES = frozenset(
    {
        "framing",  # a length that no frame of this state has
        "malformed",  # not the one msgpack encoding, or a wrong type, arity or field length
        "version",
        "suite",  # unknown, not allowed, or not the one asked for
        "digest",  # H(pub) or H(sealed) differs
        "key",  # pub is of a form that the suite does not take
        "seal",  # sealed does not open to 32 bytes
        "proof",  # a signature or MAC is wrong
        "host-key",  # the server's key is not acceptable, unknown, changed or revoked
        "name",  # the client proved another name
        "user-key",  # the client's key is not acceptable or authorized, or is missing though required
        "record",  # a record does not open, or its padding or number is wrong
        "order",  # a record type, side or id whose turn it is not
        "rekey",  # too many REKEYs, or none before the last number
        "message",  # over 32 KiB, or not UTF-8
        "timeout",
        "limit",
        "cut",  # the stream ended without GOODBYE
    }
)


class AbortError(Exception):
    """Section 12: nothing is sent to the peer; ``category`` is all that may be said."""

    def __init__(self, category: str, detail: str = "") -> None:
        assert category in CATEGORIES
        super().__init__(f"{category}: {detail}" if detail else category)
        self.category = category
