"""Section 3: certificates as arrays, and the checks of them; and an authority that makes them, for tests."""

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.independent import sshsig
from tests.independent.abort import AbortError
from tests.independent.pack import Value
from tests.independent.schedule import lp

_TYPE = b"ssh-ed25519-cert-v01@openssh.com"
_KEY = b"ssh-ed25519"
_MOST_PRINCIPALS = 256
_CIDR = re.compile(r"[0-9A-Fa-f:.]+(/[0-9]+)?")
FOREVER = 2**64 - 1
KNOWN_EXTENSIONS = {
    1: b"permit-X11-forwarding",
    2: b"permit-agent-forwarding",
    4: b"permit-port-forwarding",
    8: b"permit-pty",
    16: b"permit-user-rc",
}


class Certificate(NamedTuple):
    """The array of section 3, with the extensions as they are in the certificate."""

    nonce: bytes
    key: bytes
    serial: int
    key_id: bytes
    principals: bytes
    valid_after: int
    valid_before: int
    options: bytes
    extensions: bytes
    ca: bytes
    ca_sig: bytes

    def signed(self) -> bytes:
        return (
            lp(_TYPE)
            + lp(self.nonce)
            + lp(self.key)
            + self.serial.to_bytes(8, "big")
            + (1).to_bytes(4, "big")
            + lp(self.key_id)
            + lp(self.principals)
            + self.valid_after.to_bytes(8, "big")
            + self.valid_before.to_bytes(8, "big")
            + lp(self.options)
            + lp(self.extensions)
            + lp(b"")
            + lp(lp(_KEY) + lp(self.ca))
        )

    def blob(self) -> bytes:
        return self.signed() + lp(lp(_KEY) + lp(self.ca_sig))

    def fields(self) -> tuple[Value, ...]:
        """As it is sent."""
        number = _number_of(self.extensions)
        return (*self[:8], self.extensions if number is None else number, *self[9:])


@dataclass(frozen=True)
class Authority:
    """Makes certificates."""

    key: Ed25519PrivateKey

    @property
    def ca(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def issue(self, user_key: Ed25519PrivateKey, *principals: bytes, **changes: object) -> Certificate:
        """A certificate; ``changes`` are made before it is signed."""
        raw = user_key.public_key().public_bytes_raw()
        content = b"".join(map(lp, principals))
        plain = Certificate(b"\x0b" * 32, raw, 7, b"alice@laptop", content, 0, FOREVER, b"", b"", self.ca, b"")
        changed = plain._replace(**changes)  # type: ignore[arg-type]
        return changed._replace(ca_sig=self.key.sign(changed.signed()))


def extensions_of(number: int) -> bytes:
    return b"".join(lp(name) + lp(b"") for bit, name in KNOWN_EXTENSIONS.items() if number & bit)


def read_certificate(values: tuple[Value, ...]) -> Certificate:
    """Types and lengths, as for every message: malformed."""
    if len(values) != len(Certificate._fields):
        raise AbortError("malformed", "arity")
    numbers = (2, 5, 6)
    found: list[bytes | int] = []
    for at, value in enumerate(values):
        if at == 8 and isinstance(value, int) and not isinstance(value, bool):
            if value >= 32:
                raise AbortError("malformed", "extensions")
            value = extensions_of(value)
        elif at == 8 and isinstance(value, bytes) and _number_of(value) is not None:
            raise AbortError("malformed", "extensions for which there is a number")
        if at in numbers:
            if not isinstance(value, int) or isinstance(value, bool):
                raise AbortError("malformed", "not an integer")
            found.append(value)
        else:
            size = {1: 32, 9: 32, 10: 64}.get(at)
            if not isinstance(value, bytes) or (size is not None and len(value) != size):
                raise AbortError("malformed", "not a bin of that length")
            found.append(value)
    return Certificate(*found)  # type: ignore[arg-type]


def check(certificate: Certificate) -> frozenset[bytes]:
    """The content and the signature; the principals."""
    ca = certificate.ca
    principals = _strings(certificate.principals)
    if not 1 <= len(principals) <= _MOST_PRINCIPALS or b"" in principals:
        raise AbortError("user-key", "principals")
    names = [name for name, _data in _pairs(certificate.options)]
    if names not in ([], [b"source-address"]):
        raise AbortError("user-key", "options")
    _networks(certificate)
    _pairs(certificate.extensions)
    if not sshsig.acceptable(lp(_KEY) + lp(ca)):
        raise AbortError("user-key", "authority")
    try:
        Ed25519PublicKey.from_public_bytes(ca).verify(certificate.ca_sig, certificate.signed())
    except (InvalidSignature, ValueError):
        raise AbortError("user-key", "ca_sig") from None
    return frozenset(principals)


def check_use(certificate: Certificate, host: str, now: float) -> None:
    """Times and addresses."""
    if not certificate.valid_after <= now < certificate.valid_before:
        raise AbortError("user-key", "not valid now")
    networks = _networks(certificate)
    if networks is not None and not (host and any(ipaddress.ip_address(host) in network for network in networks)):
        raise AbortError("user-key", "source-address")


def _networks(certificate: Certificate) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None:
    for _name, data in _pairs(certificate.options):
        texts = _strings(data)
        try:
            networks = texts[0].decode("ascii").split(",")
            if len(texts) == 1 and all(map(_CIDR.fullmatch, networks)):
                return [ipaddress.ip_network(text) for text in networks]
        except (ValueError, IndexError):
            pass
        raise AbortError("user-key", "source-address")
    return None


def _number_of(extensions: bytes) -> int | None:
    return next((number for number in range(32) if extensions_of(number) == extensions), None)


def _strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        if len(data) < max(4, end):
            raise AbortError("user-key", "too short")
        found.append(data[4:end])
        data = data[end:]
    return found


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    strings = _strings(data)
    if len(strings) % 2:
        raise AbortError("user-key", "a name without data")
    return list(zip(strings[::2], strings[1::2], strict=True))
