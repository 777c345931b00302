"""The exception that aborts a connection, with its category (section 12)."""

CATEGORIES = frozenset(
    {
        "framing",  # a frame length that is not allowed in this state
        "malformed",  # not the one msgpack encoding, or a wrong type, number of elements or field length
        "version",
        "suite",  # unknown, not accepted, or not the one the client named
        "digest",  # H(pub) or H(sealed) differs
        "key",  # pub is not of the form that the suite requires
        "seal",  # sealed does not open to 32 bytes
        "proof",  # a signature or MAC is wrong
        "host-key",  # the server's key is not acceptable, unknown, changed or revoked
        "name",  # the client dialled a name that is not the server's
        "user-key",  # the client's key is not acceptable, not authorized, or missing
        "record",  # a record does not open, or its padding or seq is wrong
        "order",  # a record type, side or id that is not allowed at this point
        "rekey",  # too many REKEYs, or none before seq 2^16
        "message",  # a message or RECALL over max_message, or a SAY or REPLY that is not UTF-8
        "timeout",
        "limit",  # too many connections or RECALLs
        "cut",  # the stream ended without GOODBYE
    }
)


class AbortError(Exception):
    """Section 12: nothing is sent to the peer, and only ``category`` may be logged."""

    def __init__(self, category: str, detail: str = "") -> None:
        assert category in CATEGORIES
        super().__init__(f"{category}: {detail}" if detail else category)
        self.category = category
