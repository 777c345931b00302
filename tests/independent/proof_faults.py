"""Faults in the two PROOFs: bodies, keys, signatures, MACs."""

from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import sshsig
from tests.independent.bad_signatures import bad_macs, bad_signatures
from tests.independent.bending import (
    GARBAGE,
    GOOD_ABOUT,
    STRANGER,
    announce,
    flip,
    own_key,
    put,
    raw_record,
    recode,
    record,
    use,
)
from tests.independent.certificates import Authority, Certificate, extensions_of
from tests.independent.faults import CLIENT_KEY_REQUIRED, HOST_KEY_REVOKED, HOST_KEY_UNKNOWN, Fault
from tests.independent.messages import CLIENT_KEY_OPTIONAL
from tests.independent.pack import Value, pack
from tests.independent.peer import Hook, Peer
from tests.independent.records import ABOUT, GOODBYE, HEAD, LONGEST_PAYLOAD, PAD, PROOF, REKEY, REPLY, SAY, plaintext
from tests.independent.schedule import lp
from tests.independent.server import Server
from tests.independent.suites import RECORD_FRAME

_IDENTITY_SIGNATURE = b"\x01" + bytes(63)  # R is the identity and S is 0, which verifies under small-order keys

_FOREIGN_BLOBS = {
    "empty-point": lp(b"ssh-ed25519") + lp(b""),
    "short": lp(b"ssh-ed25519") + lp(bytes(31)),
    "long": lp(b"ssh-ed25519") + lp(bytes(33)),
    "trailing": lp(b"ssh-ed25519") + lp(GARBAGE) + b"\x00",
    "bare": GARBAGE,
    "rsa": lp(b"ssh-rsa") + lp(b"\x01\x00\x01") + lp(b"\x00" + b"\xff" * 128),
    "ecdsa": lp(b"ecdsa-sha2-nistp256") + lp(b"nistp256") + lp(b"\x04" + bytes(64)),
    "certificate": lp(b"ssh-ed25519-cert-v01@openssh.com") + lp(GARBAGE) + lp(GARBAGE),
    "security-key": lp(b"sk-ssh-ed25519@openssh.com") + lp(GARBAGE) + lp(b"ssh:"),
    "same-length": lp(b"ssh-ed25518") + lp(GARBAGE),
}


def server_proof_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="server", step="proof")
    yield from _either("server-proof", "server", "SB", "host-key")
    client_auths: dict[str, Value] = {"3": 3, "nil": None, "true": True}
    for name, value in client_auths.items():
        what = f"client_auth is {name}"
        yield fault(f"server-proof-client-auth-{name}", "malformed", what, hooks={"SB": put(2, value)})
    yield fault("server-proof-is-clients", "malformed", "SB has the client's kind", hooks={"SB": put(0, "client")})
    changed = _as_stranger("SB", 1, sshsig.SERVER, 3)
    yield fault("server-host-key-changed", "host-key", "A valid proof by another host key", hooks=changed)
    yield fault("server-host-key-unknown", "host-key", "A valid proof by an unknown host key", setting=HOST_KEY_UNKNOWN)
    yield fault("server-host-key-revoked", "host-key", "A valid proof by a revoked host key", setting=HOST_KEY_REVOKED)
    yield from bad_signatures("server", sshsig.SERVER, sshsig.CLIENT, 3)
    yield from bad_macs("server", "fin_server", "fin_client", 4)
    later = partial(Fault, role="server", step="client proof")
    yield later("server-about-missing", "order", "The first record is PAD", act=partial(_app_record, PAD, b""))
    yield later(
        "server-reply-before-about",
        "order",
        "The first record is REPLY",
        act=partial(_app_record, REPLY, pack((1, True, b"x"))),
    )
    yield later(
        "server-goodbye-before-about",
        "order",
        "The first record is GOODBYE",
        act=partial(_app_record, GOODBYE, pack((1, 0))),
    )
    yield later("server-rekey-before-about", "order", "The first record is REKEY", act=partial(_app_record, REKEY, b""))
    yield later("server-proof-twice", "record", "The same PROOF again", act=_replay_proof)
    yield later("server-still-handshake-keys", "record", "ABOUT under hs_server", act=_about_under_handshake_keys)
    yield later("server-reflects-proof", "record", "The client's PROOF is reflected", act=_reflect)


def client_proof_faults() -> Iterator[Fault]:
    fault = partial(Fault, role="client", step="proof")
    yield from _either("client-proof", "client", "CB", "user-key")
    for name, text in (
        ("other-host", "[other.example]:7022"),
        ("other-port", "[localhost]:1"),
        ("upper-case", "[LOCALHOST]:7022"),
        ("final-dot", "[localhost.]:7022"),
        ("no-port", "[localhost]"),
        ("no-brackets", "localhost:7022"),
        ("empty", ""),
        ("nul", "[localhost]:7022\0"),
    ):
        what = f"The name is {text!r}"
        yield fault(f"client-name-{name}", "name", what, hooks={"CB": put(1, text)}, or_else=("malformed",))
    yield fault("client-name-bin", "malformed", "The name is bin", hooks={"CB": put(1, b"[localhost]:7022")})
    yield fault("client-proof-is-servers", "malformed", "CB has the server's kind", hooks={"CB": put(0, "server")})
    strange = _as_stranger("CB", 2, sshsig.CLIENT, 5)
    yield fault("client-key-not-authorized", "user-key", "A valid proof by a key that is not authorized", hooks=strange)
    anonymous = partial(fault, anonymous=True)
    unasked = {"client_auth": use(CLIENT_KEY_OPTIONAL)}
    what = "Anonymous although a key is required"
    yield anonymous("client-key-missing", "user-key", what, hooks=unasked, setting=CLIENT_KEY_REQUIRED)
    named = {"CB": put(1, "[other.example]:7022")}
    yield anonymous("client-anonymous-other-name", "name", "Anonymous, with another name", hooks=named)
    signed = {"signature": use(bytes(64))}
    yield anonymous("client-signature-without-key", "malformed", "Anonymous but signed", hooks=signed)
    unsigned = {"signature": use(b"")}
    yield fault("client-key-without-signature", "malformed", "A key without a signature", hooks=unsigned)
    yield from bad_signatures("client", sshsig.CLIENT, sshsig.SERVER, 5)
    yield from bad_macs("client", "fin_client", "fin_server", 6)
    anonymous_mac = {"mac": use(bytes(32))}
    yield anonymous("client-anonymous-mac-zero", "proof", "Anonymous, with a MAC of zeros", hooks=anonymous_mac)
    yield Fault("client-reflects-proof", "record", "The server's PROOF is reflected", "client", "welcome", act=_reflect)
    later = partial(Fault, role="client", step="session")
    yield later("client-proof-twice", "record", "The same PROOF again", act=_replay_proof)
    yield later("client-proof-late", "order", "PROOF under the session's keys", act=_second_proof)


def certificate_faults() -> Iterator[Fault]:
    """Faults of a client with a certificate, signed by an authority that the peer under test need not know."""
    fault = partial(Fault, role="client", step="proof")

    def bent(bend: Callable[[Certificate], tuple[Value, ...]], **changes: object) -> Hook:
        """Show a certificate with these ``changes``, which is bent after it was signed."""

        def hook(peer: Peer, fields: tuple[Value, ...]) -> tuple[Value, ...]:
            changed = {"principals": lp(b"alice"), **changes}
            return (*fields[:2], bend(Authority(STRANGER).issue(own_key(peer), **changed)))

        return hook

    def at(index: int, value: Value) -> Hook:
        return bent(lambda good: (*good.fields()[:index], value, *good.fields()[index + 1 :]))

    malformed = {
        "short": bent(lambda good: good.fields()[:-1]),
        "long": bent(lambda good: (*good.fields(), 0)),
        "empty": bent(lambda good: ()),
        "key-31": bent(lambda good: good._replace(key=good.key[1:]).fields()),
        "ca-33": at(9, bytes(33)),
        "signature-63": at(10, bytes(63)),
        "serial-bin": at(2, b"\x07"),
        "key-id-str": at(3, "alice"),
        "principals-array": at(4, (b"alice",)),
        "extensions-32": at(8, 32),
        "extensions-bin": at(8, extensions_of(31)),
        "extensions-none": at(8, b""),
        "extensions-true": at(8, True),
        "extensions-nil": at(8, None),
    }
    for name, hook in malformed.items():
        what = f"The array of a certificate is wrong: {name}"
        yield fault(f"client-certificate-{name}", "malformed", what, hooks={"CB": hook})
    sign = partial(bent, Certificate.fields)  # with changes that the authority has signed
    source = lp(b"source-address")
    refused = {
        "other-authority": at(9, Ed25519PrivateKey.from_private_bytes(GARBAGE).public_key().public_bytes_raw()),
        "no-principal": sign(principals=b""),
        "empty-principal": sign(principals=lp(b"alice") + lp(b"")),
        "principals-trailing": sign(principals=lp(b"alice") + b"\0"),
        "force-command": sign(options=lp(b"force-command") + lp(lp(b"x"))),
        "option-twice": sign(options=(source + lp(lp(b"::1"))) * 2),
        "option-without-data": sign(options=source),
        "source-pattern": sign(options=source + lp(lp(b"192.0.2.*"))),
        "source-twice": sign(options=source + lp(lp(b"::1") * 2)),
        "source-netmask": sign(options=source + lp(lp(b"10.0.0.0/255.0.0.0"))),
        "source-host-bits": sign(options=source + lp(lp(b"10.0.0.1/8"))),
        "extension-without-data": sign(extensions=lp(b"permit-pty")),
        "small-order-ca": bent(lambda good: good._replace(ca=bytes(32), ca_sig=_IDENTITY_SIGNATURE).fields()),
        "signature-flipped": bent(lambda good: good._replace(ca_sig=flip(good.ca_sig)).fields()),
        "serial-changed": at(2, 8),
        "key-id-changed": at(3, b"root"),
        "principals-changed": at(4, lp(b"root")),
        "validity-changed": at(6, 2**64 - 2),
        "extensions-changed": at(8, 1),
    }
    for name, hook in refused.items():
        what = f"A certificate that no server accepts: {name}"
        yield fault(f"client-certificate-{name}", "user-key", what, hooks={"CB": hook})
    for number, small in enumerate(sorted(sshsig.SMALL_ORDER)):
        hooks = {"CB": sign(key=small), "signature": use(_IDENTITY_SIGNATURE)}
        what = "A certificate for a small-order key, with a signature that verifies under it"
        yield fault(f"client-certificate-small-order-{number}", "user-key", what, hooks=hooks)
    others = {"CB": sign(key=STRANGER.public_key().public_bytes_raw())}
    yield fault("client-certificate-of-another", "proof", "A certificate for another's key", hooks=others)
    elsewhere: dict[str, Hook] = {"CB": lambda peer, old: sign()(peer, put(1, "[other.example]:7022")(peer, old))}
    yield fault("client-certificate-other-name", "name", "A certificate, with another name", hooks=elsewhere)


def _either(name: str, role: str, body: str, key_category: str) -> Iterator[Fault]:
    """Faults of both sides' PROOF."""
    fault = partial(Fault, role=role, step="proof")
    point = 1 if body == "SB" else 2  # index of the key
    bent = partial(fault, or_else=("malformed",))
    for what, blob in _FOREIGN_BLOBS.items():
        yield bent(
            f"{role}-key-{what}", key_category, f"The key's blob is wrong: {what}", hooks={body: put(point, blob)}
        )
    for number, small in enumerate(sorted(sshsig.SMALL_ORDER)):
        hooks = {body: put(point, lp(b"ssh-ed25519") + lp(small)), "signature": use(_IDENTITY_SIGNATURE)}
        what = "A small-order key with a signature that verifies under it"
        yield fault(f"{role}-key-small-order-{number}", key_category, what, hooks=hooks)
    malformed = partial(fault, category="malformed")
    yield malformed(f"{name}-body-short", sentence="The body has 2 fields", hooks={body: lambda peer, old: old[:-1]})
    yield malformed(f"{name}-body-long", sentence="The body has 4 fields", hooks={body: lambda peer, old: (*old, 0)})
    yield malformed(f"{name}-body-nil", sentence="The body is nil", hooks={"payload": recode(0, lambda data: b"\xc0")})
    for what, sentence, hook in (
        ("short", "lacks a field", lambda peer, data: b"\x92" + data[1:-34]),
        ("long", "has an additional field", lambda peer, data: b"\x94" + data[1:] + b"\xc0"),
        ("trailing", "is followed by a byte", lambda peer, data: data + b"\x00"),
        ("array16", "is an array 16", lambda peer, data: b"\xdc\x00\x03" + data[1:]),
        ("empty", "is empty (n = 0)", use(b"")),
    ):
        yield malformed(f"{name}-{what}", sentence=f"The PROOF {sentence}", hooks={"payload": hook})
    bin16 = {"payload": recode(2, lambda data: b"\xc5\x00" + data[1:])}
    yield malformed(f"{name}-mac-bin16", sentence="The MAC is bin 16", hooks=bin16)
    wrong = partial(fault, category="record")
    padded = {"plaintext": lambda peer, data: data[:-1] + b"\x01"}
    yield wrong(f"{name}-padding", sentence="The padding's last byte is 1", hooks={**padded})
    too_long = {"plaintext": lambda peer, data: data[:1] + (LONGEST_PAYLOAD + 1).to_bytes(2, "big") + data[HEAD:]}
    yield wrong(f"{name}-n-510", sentence="n is 510", hooks={**too_long}, or_else=("malformed",))
    for what, at in (("first", 0), ("last", -1)):
        hooks = {"body": partial(_flip_body, at)}
        yield wrong(f"{name}-{what}-bit", sentence=f"The record's {what} byte is changed", hooks=hooks)
    typed = {"plaintext": lambda peer, data: bytes([SAY if role == "client" else ABOUT]) + data[1:]}
    yield fault(f"{name}-type", "order", "The record has another type", hooks={**typed})
    for off in (-1, 1):
        frame = {"frame": partial(_announce_off, off)}
        yield fault(f"{name}-frame{off:+}", "framing", f"The frame's length is off by {off}", hooks=frame)
    yield fault(f"{name}-frame-0", "framing", "The frame's length is 0", hooks={"frame": announce(0)})


def _as_stranger(body: str, point: int, namespace: str, h: int) -> dict[str, Hook]:
    """Another key with a valid signature."""
    return {
        body: put(point, sshsig.blob(STRANGER)),
        "signature": lambda peer, old: sshsig.sign(STRANGER, namespace, peer.transcript.h[h]),
    }


def _flip_body(at: int, peer: Peer, body: bytes) -> bytes:
    return flip(body, at)


def _announce_off(off: int, peer: Peer, frame: bytes) -> bytes:
    return (RECORD_FRAME[peer.suite] + off).to_bytes(4, "big")


def _app_record(kind: int, payload: bytes, peer: Peer) -> None:
    peer.sock.sendall(record(peer, kind, payload))


def _proof_frame(peer: Peer, side: str) -> bytes:
    """The frame of the PROOF that ``side`` sent."""
    return next(old.frame for old in peer.trace.records if old.side == side and old.kind == PROOF)


def _replay_proof(peer: Peer) -> None:
    peer.sock.sendall(_proof_frame(peer, peer.side))


def _reflect(peer: Peer) -> None:
    peer.sock.sendall(_proof_frame(peer, peer.other))


def _second_proof(peer: Peer) -> None:
    payload = next(old.payload for old in peer.trace.records if old.side == peer.side and old.kind == PROOF)
    peer.sock.sendall(record(peer, PROOF, payload))


def _about_under_handshake_keys(server: Server) -> None:
    half = server.half(server.handshake_keys.hs_server)
    half.seq = 1
    server.sock.sendall(raw_record(half, plaintext(ABOUT, pack(GOOD_ABOUT))))
