"""An authority that issues certificates to the users of tests."""

from typing import Any

from securechat.ssh.certificates import Certificate, Parts
from securechat.ssh.encoding import string
from securechat.ssh.keys import SigningKey

FOREVER = 2**64 - 1
CA = SigningKey.generate()


def strings(*items: bytes) -> bytes:
    """The content of a string that has others in it."""
    return b"".join(map(string, items))


def source_address(text: bytes) -> bytes:
    """The critical options of a certificate that is valid at some addresses only."""
    return strings(b"source-address", string(text))


def issue(user: SigningKey, /, *principals: bytes, ca: SigningKey = CA, **changes: Any) -> bytes:
    """The blob of a certificate; `changes` of its parts are made before it is signed."""
    plain = Parts(
        *(b"n" * 32, raw(user), 7, b"alice@laptop", strings(*principals), 0, FOREVER, b"", b"", raw(ca), b""),
    )
    changed = plain._replace(**changes)
    return changed._replace(signature=ca.sign(changed.signed)).blob


def certificate(user: SigningKey, /, *principals: bytes, ca: SigningKey = CA, **changes: Any) -> Certificate:
    """A certificate as the server reads it."""
    return Certificate.parse(issue(user, *principals, ca=ca, **changes))


def raw(key: SigningKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.blob[-32:]
