"""Invalid encodings of Hello and Welcome, both [kind, 1, suite, nonce, blob, digest] (sections 0 and 3)."""

from tests.independent.bending import put, recode, use
from tests.independent.peer import Hook

# name, predicate of "The message …", and the hooks that make it true
BAD_ENCODINGS: tuple[tuple[str, str, dict[str, Hook]], ...] = (
    ("empty-array", "is an empty array", {"payload": use(b"\x90")}),
    ("not-an-array", "is a number", {"payload": use(b"\x01")}),
    ("map", "is a map", {"payload": use(b"\x81\x01\x01")}),
    ("array16", "is an array 16", {"payload": lambda peer, data: b"\xdc\x00\x06" + data[1:]}),
    ("array32", "is an array 32", {"payload": lambda peer, data: b"\xdd\x00\x00\x00\x06" + data[1:]}),
    ("deep", "is a deeply nested array", {"payload": use(b"\x91" * 2000)}),
    ("announced", "announces 2^32 - 1 elements", {"payload": use(b"\xdd\xff\xff\xff\xff")}),
    ("truncated", "lacks its last byte", {"payload": lambda peer, data: data[:-1]}),
    ("trailing", "has a trailing byte", {"payload": lambda peer, data: data + b"\x00"}),
    ("five-fields", "lacks its last field", {"fields": lambda peer, fields: fields[:-1]}),
    ("seven-fields", "has an additional field", {"fields": lambda peer, fields: (*fields, None)}),
    ("kind-unknown", "is of an unknown kind", {"fields": put(0, "hallo")}),
    ("kind-bin", "has its kind as bin", {"fields": lambda peer, fields: (fields[0].encode(), *fields[1:])}),
    ("kind-str8", "has its kind as str 8", {"payload": recode(0, lambda data: _str(b"\xd9", data))}),
    ("version-uint8", "has its version as uint 8", {"payload": recode(1, lambda data: b"\xcc" + data)}),
    ("version-uint64", "has its version as uint 64", {"payload": recode(1, lambda data: b"\xcf" + bytes(7) + data)}),
    ("version-int8", "has its version as int 8", {"payload": recode(1, lambda data: b"\xd0" + data)}),
    ("version-float", "has its version as float", {"payload": recode(1, lambda data: b"\xca\x3f\x80\x00\x00")}),
    ("version-true", "has version true", {"fields": put(1, True)}),
    ("version-nil", "has version nil", {"fields": put(1, None)}),
    ("suite-bin16", "has its suite as bin 16", {"payload": recode(2, lambda data: b"\xc5\x00" + data[1:])}),
    ("suite-str", "has its suite as str", {"fields": lambda peer, fields: put(2, peer.suite)(peer, fields)}),
    ("nonce-empty", "has no nonce", {"fields": put(3, b"")}),
    ("nonce-31", "has a nonce of 31 bytes", {"fields": put(3, bytes(31))}),
    ("nonce-33", "has a nonce of 33 bytes", {"fields": put(3, bytes(33))}),
    ("nonce-str", "has its nonce as str", {"fields": put(3, "n" * 32)}),
    ("nonce-bin16", "has its nonce as bin 16", {"payload": recode(3, lambda data: b"\xc5\x00" + data[1:])}),
    ("blob-bin32", "has its key or sealed secret as bin 32", {"payload": recode(4, lambda data: _bin32(data))}),
    ("blob-nil", "has nil for its key or sealed secret", {"fields": put(4, None)}),
    ("digest-31", "has a digest of 31 bytes", {"fields": put(5, bytes(31))}),
    ("digest-nil", "has nil for its digest", {"fields": put(5, None)}),
)


def _str(head: bytes, fixed: bytes) -> bytes:
    """A fixstr encoded with the longer header ``head``."""
    return head + bytes([fixed[0] - 0xA0]) + fixed[1:]


def _bin32(bin16: bytes) -> bytes:
    return b"\xc6\x00\x00" + bin16[1:]
