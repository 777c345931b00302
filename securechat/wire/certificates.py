"""Users' certificates as they are sent: without what all of them have in common (protocol, section 3)."""

from typing import Final

from msgspec import Raw
from msgspec.structs import asdict

from securechat.errors import Category, RemoteProtocolError
from securechat.ssh import keys
from securechat.ssh.certificates import Parts, is_certificate, split
from securechat.ssh.encoding import string
from securechat.wire.messages import CertificateBody, ClientBody, ClientProof, encode
from securechat.wire.records import MAX_PAYLOAD

# Those that ssh-keygen adds by default, in its order. They have no effect here, but are signed.
EXTENSIONS: Final = (
    b"permit-X11-forwarding",
    b"permit-agent-forwarding",
    b"permit-port-forwarding",
    b"permit-pty",
    b"permit-user-rc",
)


def _content(number: int) -> bytes:
    """The extensions in a set, as a certificate has them."""
    named = (name for bit, name in enumerate(EXTENSIONS) if number >> bit & 1)
    return b"".join(string(name) + string(b"") for name in named)


_NUMBERS: Final = {_content(number): number for number in range(1 << len(EXTENSIONS))}


def credential_of(blob: bytes) -> bytes | CertificateBody:
    """What is sent of a public key or a certificate in SSH wire format; ValueError."""
    if not is_certificate(blob):
        return blob
    parts = split(blob)
    return CertificateBody(**{**parts._asdict(), "extensions": _NUMBERS.get(parts.extensions, parts.extensions)})


def read_credential(sent: bytes | CertificateBody) -> tuple[bytes, bytes]:
    """The public key and the certificate in SSH wire format, both unchecked; the latter is empty if there is none.

    RemoteProtocolError (malformed) if the extensions should have been sent in the other form.
    """
    if not isinstance(sent, CertificateBody):
        return sent, b""
    extensions = sent.extensions
    if isinstance(extensions, int):
        extensions = _content(extensions)
    elif extensions in _NUMBERS:
        raise RemoteProtocolError(Category.MALFORMED)
    return keys.blob_of(sent.key), Parts(**{**asdict(sent), "extensions": extensions}).blob


def excess(blob: bytes, name: str) -> int:
    """The bytes by which a certificate is too long for the record with a client's proof to the server `name`.

    Zero or less if it can be used. ValueError if it is not valid in form.
    """
    body = encode(ClientBody(name, credential_of(blob)))
    return len(encode(ClientProof(Raw(body), bytes(64), bytes(32)))) - MAX_PAYLOAD
