"""Public keys that a suite must refuse, for the table of faults."""

from collections.abc import Iterator

from tests.independent.hpke import MLKEM_PUBLIC
from tests.independent.suites import SPKI_AFTER_N, SPKI_BEFORE_N

_P = 2**255 - 19
_N_AT = len(SPKI_BEFORE_N)
_RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")
_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")

# u-coordinates of order 1, 2, 4 and 8, with their non-canonical encodings (RFC 7748 reduces them)
LOW_ORDER = {
    "0": (0).to_bytes(32, "little"),
    "1": (1).to_bytes(32, "little"),
    "order-8-a": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order-8-b": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "p-1": (_P - 1).to_bytes(32, "little"),
    "p": _P.to_bytes(32, "little"),
    "p+1": (_P + 1).to_bytes(32, "little"),
    "0-with-top-bit": (2**255).to_bytes(32, "little"),
}


def bad_pq(pub: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "short", pub[:-1]
    yield "long", pub + b"\x00"
    yield "mlkem-only", pub[:MLKEM_PUBLIC]
    for name, point in LOW_ORDER.items():
        yield f"x25519-{name}", pub[:MLKEM_PUBLIC] + point
    yield "mlkem-first-coefficient-q", _coefficient(pub, 0, 3329)
    yield "mlkem-first-coefficient-4095", _coefficient(pub, 0, 4095)
    yield "mlkem-last-coefficient-q", _coefficient(pub, 767, 3329)


def bad_rsa(pub: bytes) -> Iterator[tuple[str, bytes]]:
    """The private keys are not needed: the server has to refuse these keys before it seals."""
    n = int.from_bytes(pub[_N_AT : -len(SPKI_AFTER_N)], "big")
    yield "empty", b""
    yield "short", pub[:-1]
    yield "long", pub + b"\x00"
    yield "1024-bits", spki(n >> 1024 | 1, 65537)
    yield "2047-bits", spki(n >> 1 | 1, 65537)
    yield "2047-bits-not-minimal", SPKI_BEFORE_N + (n >> 1 | 1).to_bytes(256, "big") + SPKI_AFTER_N
    yield "4096-bits", spki(n << 2048 | n, 65537)
    yield "e-3", spki(n, 3)
    yield "e-65539", spki(n, 65539)
    yield "e-65536", spki(n, 65536)
    yield "e-almost-n", spki(n, n - 2)
    yield "even-n", spki(n - 1, 65537)
    yield "pkcs1", _rsa_public_key(n, 65537)
    yield "pss-algorithm", pub.replace(_RSA_ENCRYPTION, _RSASSA_PSS)
    yield "no-null-parameters", _sequence(_sequence(_RSA_ENCRYPTION) + _bit_string(_rsa_public_key(n, 65537)))
    yield "unused-bits", pub.replace(bytes.fromhex("0382010f00"), bytes.fromhex("0382010f01"))


def spki(n: int, e: int) -> bytes:
    algorithm = _sequence(_RSA_ENCRYPTION + bytes.fromhex("0500"))
    return _sequence(algorithm + _bit_string(_rsa_public_key(n, e)))


def _coefficient(pub: bytes, index: int, value: int) -> bytes:
    """Set one of the twelve-bit coefficients."""
    at = index // 2 * 3
    shift = index % 2 * 12
    pair = int.from_bytes(pub[at : at + 3], "little") & ~(0xFFF << shift) | value << shift
    return pub[:at] + pair.to_bytes(3, "little") + pub[at + 3 :]


def _rsa_public_key(n: int, e: int) -> bytes:
    return _sequence(_integer(n) + _integer(e))


def _integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bit_string(data: bytes) -> bytes:
    return _der(0x03, b"\x00" + data)


def _sequence(data: bytes) -> bytes:
    return _der(0x30, data)


def _der(tag: int, data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + data
