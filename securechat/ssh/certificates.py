"""OpenSSH certificates of users, for Ed25519 keys and signed with them (OpenSSH, PROTOCOL.certkeys)."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.address_patterns import AddressPatterns
from securechat.ssh.encoding import Reader, string

CERTIFICATE_TYPE: Final = b"ssh-ed25519-cert-v01@openssh.com"
MAX_PRINCIPALS: Final = 256  # the same limit as OpenSSH's
SOURCE_ADDRESS: Final = b"source-address"

_USER: Final = 1  # type of a user's certificate; that of a host is 2
_CIDR: Final = frozenset("0123456789abcdefABCDEF.:/,")


class Parts(NamedTuple):
    """What differs between two certificates: the contents of strings, and numbers."""

    nonce: bytes
    key: bytes  # 32 bytes
    serial: int
    key_id: bytes
    principals: bytes
    valid_after: int  # seconds since the epoch, as is the next
    valid_before: int
    options: bytes  # the critical ones
    extensions: bytes
    ca: bytes  # 32 bytes, the key of the authority
    signature: bytes  # 64 bytes

    @property
    def signed(self) -> bytes:
        """What the authority signs: the certificate up to the signature."""
        return (
            string(CERTIFICATE_TYPE)
            + string(self.nonce)
            + string(self.key)
            + self.serial.to_bytes(8, "big")
            + _USER.to_bytes(4, "big")
            + string(self.key_id)
            + string(self.principals)
            + self.valid_after.to_bytes(8, "big")
            + self.valid_before.to_bytes(8, "big")
            + string(self.options)
            + string(self.extensions)
            + string(b"")
            + string(keys.blob_of(self.ca))
        )

    @property
    def blob(self) -> bytes:
        """The certificate in SSH wire format."""
        return self.signed + string(string(keys.KEY_TYPE) + string(self.signature))


def is_certificate(blob: bytes) -> bool:
    """Whether a public key in SSH wire format is a certificate for an Ed25519 key."""
    return blob.startswith(string(CERTIFICATE_TYPE))


def split(blob: bytes) -> Parts:
    """The parts of a certificate; ValueError, for the user, if it is not a well-formed certificate of a user.

    The signature is not verified.
    """
    if not is_certificate(blob):
        raise ValueError(_("not a certificate for an Ed25519 key"))
    reader = Reader(blob)
    try:
        reader.string()
        nonce, key, serial, kind = reader.string(), reader.string(), reader.uint64(), reader.uint32()
        key_id, principals = reader.string(), reader.string()
        valid_after, valid_before = reader.uint64(), reader.uint64()
        options, extensions, _reserved = reader.string(), reader.string(), reader.string()
        ca, signature = Reader(reader.string()), Reader(reader.string())
        ca_type, _signature_type = ca.string(), signature.string()
        parts = Parts(
            *(nonce, key, serial, key_id, principals, valid_after, valid_before, options, extensions),
            *(ca.string(), signature.string()),
        )
    except ValueError:
        raise ValueError(_("not a valid certificate")) from None
    if kind != _USER:
        raise ValueError(_("not a user certificate"))
    if ca_type != keys.KEY_TYPE:
        raise ValueError(_("the key of its authority is not an Ed25519 key; only these are supported"))
    if parts.blob != blob:  # covers other types, lengths, fields that must be empty, and trailing bytes
        raise ValueError(_("not a valid certificate"))
    return parts


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose signature is valid. Its authority is not necessarily trusted."""

    blob: bytes
    key: bytes  # the user's public key in SSH wire format
    ca: bytes  # the authority's
    serial: int
    key_id: bytes  # any bytes
    principals: frozenset[bytes]
    valid_after: int
    valid_before: int
    sources: AddressPatterns | None

    @classmethod
    def parse(cls, blob: bytes) -> "Certificate":
        """ValueError if it is not a valid certificate of a user, or has a critical option that is not supported."""
        parts = split(blob)
        key, ca = keys.blob_of(parts.key), keys.blob_of(parts.ca)
        keys.check_blob(key)
        if not keys.verify(ca, parts.signature, parts.signed):
            raise ValueError("the signature of the authority is not valid")
        _pairs(parts.extensions)  # none has an effect here
        principals, sources = _principals(parts.principals), _sources(parts.options)
        times = parts.valid_after, parts.valid_before
        return cls(blob, key, ca, parts.serial, parts.key_id, principals, *times, sources)

    def __repr__(self) -> str:
        return f"<Certificate {self.serial} of {keys.fingerprint(self.ca)}>"

    def allow(self, host: str, now: float) -> bool:
        """Whether the certificate is valid now, in seconds since the epoch, for a client with this address."""
        return self.valid_after <= now < self.valid_before and (self.sources is None or self.sources.match(host))


def _strings(data: bytes) -> list[bytes]:
    reader = Reader(data)
    found = []
    while not reader.is_at_end:
        found.append(reader.string())
    return found


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and their data; ValueError if the last name has none."""
    strings = _strings(data)
    return list(zip(strings[::2], strings[1::2], strict=True))


def _principals(data: bytes) -> frozenset[bytes]:
    """ValueError if there is none: OpenSSH once accepted such a certificate for every user."""
    found = _strings(data)
    if not 1 <= len(found) <= MAX_PRINCIPALS or not all(found):
        raise ValueError("expected 1 to 256 principals")
    return frozenset(found)


def _sources(options: bytes) -> AddressPatterns | None:
    """The addresses at which a certificate may be used; ValueError if another critical option restricts its use."""
    found = None
    for name, data in _pairs(options):
        if name != SOURCE_ADDRESS or found is not None:
            raise ValueError("a critical option that is not supported, or occurs twice")
        [text] = _strings(data)
        addresses = text.decode("ascii")
        if not _CIDR.issuperset(addresses):  # no patterns: they mean something else to sshd
            raise ValueError("expected addresses and networks")
        found = AddressPatterns(addresses)
    return found


def key_of(blob: bytes) -> bytes:
    """The public key in a certificate, or the public key itself; ValueError."""
    return keys.blob_of(split(blob).key) if is_certificate(blob) else blob


def parse_certificate_line(line: str) -> tuple[bytes, str]:
    """Blob and comment of ``ssh-ed25519-cert-v01@openssh.com AAAA… comment``, as in ``KEY-cert.pub``.

    ValueError, for the user. The signature is not verified.
    """
    try:
        blob, comment = keys.parse_line(line, CERTIFICATE_TYPE)
    except ValueError:
        raise ValueError(_("not a certificate for an Ed25519 key")) from None
    split(blob)
    return blob, comment
