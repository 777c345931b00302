"""Invalid signatures and MACs, for the table of faults. The MAC after an invalid signature is valid."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial

from tests.independent import sshsig
from tests.independent.bending import STRANGER, flip, own_key, use
from tests.independent.faults import Fault
from tests.independent.peer import Peer
from tests.independent.schedule import lp, mac

_ORDER = 2**252 + 27742317777372353535851937790883648493  # L of RFC 8032

Make = Callable[[Peer, bytes], bytes]  # (the peer, the valid value) -> the invalid one


def bad_signatures(role: str, own: str, other: str, h: int) -> Iterator[Fault]:
    """``own`` and ``other`` are the namespaces of the two sides; hash number ``h`` is what this side signs."""

    def over(namespace: str, number: int) -> Make:
        return lambda peer, old: sshsig.sign(own_key(peer), namespace, peer.transcript.h[number])

    def data(wrap: Callable[[bytes], bytes]) -> Make:
        return lambda peer, old: own_key(peer).sign(wrap(peer.transcript.h[h]))

    wrong: dict[str, tuple[str, Make]] = {
        "first-bit": ("has its first bit flipped", lambda peer, old: flip(old, 0)),
        "last-bit": ("has its last bit flipped", lambda peer, old: flip(old, -1)),
        "zero": ("is zeros", use(bytes(64))),
        "malleable": ("has L added to its S", lambda peer, old: _plus_order(old)),
        "by-stranger": ("is made with another key", lambda peer, old: sshsig.sign(STRANGER, own, peer.transcript.h[h])),
        "namespace-of-the-other": ("has the other side's namespace", over(other, h)),
        "namespace-file": ("has the namespace file", over("file", h)),
        "namespace-empty": ("has an empty namespace", over("", h)),
        "h0": ("covers h0", over(own, 0)),
        "too-early": (f"covers h{h - 1}", over(own, h - 1)),
        "not-sshsig": ("covers the bare hash", data(bytes)),
        "sha256": ("is SSHSIG with SHA-256", data(partial(_sshsig_sha256, own))),
        "without-magic": ("lacks SSHSIG's magic", data(lambda h: sshsig.signed_data(own, h)[6:])),
        "prehashed-twice": ("hashes twice", data(lambda h: sshsig.signed_data(own, hashlib.sha512(h).digest()))),
    }
    fault = partial(Fault, role=role, step="proof")
    for name, (sentence, make) in wrong.items():
        yield fault(f"{role}-signature-{name}", "proof", f"The signature {sentence}", hooks={"signature": make})
    lengths: dict[str, Make] = {
        "63": lambda peer, old: old[:-1],
        "65": lambda peer, old: old + b"\x00",
        "armoured": lambda peer, old: lp(lp(b"ssh-ed25519") + lp(old)),
    }
    for name, make in lengths.items():
        what = f"The signature does not have 64 bytes: {name}"
        yield fault(f"{role}-signature-{name}", "malformed", what, hooks={"signature": make})
    if role == "client":
        reflected: Make = lambda peer, old: bytes.fromhex(peer.trace.values["sig_s"])  # noqa: E731
        what = "The signature is a copy of the server's"
        yield fault("client-signature-reflected", "proof", what, hooks={"signature": reflected})


def bad_macs(role: str, own: str, other: str, h: int) -> Iterator[Fault]:
    """``own`` and ``other`` name the two finished keys; hash number ``h`` is what this side's MAC covers."""

    def under(key: str, number: int) -> Make:
        return lambda peer, old: mac(getattr(peer.handshake_keys, key), peer.transcript.h[number])

    wrong: dict[str, tuple[str, Make]] = {
        "first-bit": ("has its first bit flipped", lambda peer, old: flip(old, 0)),
        "last-bit": ("has its last bit flipped", lambda peer, old: flip(old, -1)),
        "zero": ("is zeros", use(bytes(32))),
        "key-of-the-other": ("is made with the other side's key", under(other, h)),
        "traffic-key": ("is made with a traffic secret", under("hs_client", h)),
        "too-early": (f"covers h{h - 1}", under(own, h - 1)),
        "h2": ("covers h2", under(own, 2)),
    }
    fault = partial(Fault, role=role, step="proof")
    for name, (sentence, make) in wrong.items():
        yield fault(f"{role}-mac-{name}", "proof", f"The MAC {sentence}", hooks={"mac": make})
    lengths: dict[str, Make] = {
        "empty": use(b""),
        "31": lambda peer, old: old[:-1],
        "33": lambda peer, old: old + b"\x00",
    }
    for name, make in lengths.items():
        what = f"The MAC does not have 32 bytes: {name}"
        yield fault(f"{role}-mac-{name}", "malformed", what, hooks={"mac": make}, or_else=("proof",))


def _plus_order(signature: bytes) -> bytes:
    """R and S + L: the verification equation still holds; only the bound on S refuses it."""
    s = int.from_bytes(signature[32:], "little") + _ORDER
    return signature[:32] + s.to_bytes(32, "little")


def _sshsig_sha256(namespace: str, message: bytes) -> bytes:
    digest = hashlib.sha256(message).digest()
    return b"SSHSIG" + lp(namespace.encode()) + lp(b"") + lp(b"sha256") + lp(digest)
