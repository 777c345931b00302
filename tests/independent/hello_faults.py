"""Faults in Hello and Welcome, and in what stands in their places."""

import socket
from collections.abc import Iterator
from functools import partial

from tests.independent.bad_encodings import BAD_ENCODINGS
from tests.independent.bad_pubs import bad_pq, bad_rsa
from tests.independent.bending import announce, flip, put, record, use
from tests.independent.client import Client
from tests.independent.faults import OTHER_SUITE_ONLY, Fault
from tests.independent.pack import Value
from tests.independent.peer import Peer
from tests.independent.records import ABOUT, GOODBYE, PAD, REKEY, REPLY, SAY
from tests.independent.schedule import lp, seal_info
from tests.independent.server import Server
from tests.independent.suites import PQ, RECORD_FRAME, RSA, SUITES, make_key_pair

# Valid public keys; nothing sealed to them is ever opened
_ANY_PUB = {suite: make_key_pair(suite, lambda size: bytes(range(size))).pub for suite in SUITES}


def hello_faults() -> Iterator[Fault]:
    yield from _either("hello", "client", "hello")
    yield from _silence("client", "connect", "hello")
    fault = partial(Fault, role="client", step="hello")
    swapped = {"fields": _other_suite}
    yield fault(
        "hello-suite-swapped",
        "key",
        "One suite's key under the name of the other",
        hooks=swapped,
        or_else=("malformed",),
    )
    yield fault("hello-suite-not-allowed", "suite", "A suite that the server does not accept", setting=OTHER_SUITE_ONLY)
    for suite, prefix, bad in ((PQ, "pq", bad_pq), (RSA, "rsa", bad_rsa)):
        for name, pub in bad(_ANY_PUB[suite]):
            yield fault(
                f"hello-{prefix}-pub-{name}",
                "key",
                f"A pub that the suite refuses: {name}",
                hooks={"pub": use(pub)},
                suites=(suite,),
                or_else=("malformed",),
            )
    early = {"frame": lambda peer, frame: frame + lp(bytes(RECORD_FRAME[peer.suite]))}
    yield fault("proof-early", "record", "A record after Hello, before Welcome", hooks=early, act=_read_server)
    after = partial(Fault, role="client", step="welcome")
    yield after("hello-twice", "framing", "Hello again instead of PROOF", act=_repeat("hello"))
    yield from _silence("client", "welcome", "client-proof")
    yield from _no_proof("client", "welcome", {"say": SAY, "pad": PAD, "rekey": REKEY, "goodbye": GOODBYE})


def welcome_faults() -> Iterator[Fault]:
    yield from _either("welcome", "server", "welcome")
    yield from _cuts("server", "hello", "welcome")
    fault = partial(Fault, role="server", step="welcome")
    yield fault("welcome-other-suite", "suite", "The other suite", hooks={"fields": _other_suite})
    seals = (
        ("short", {"sealed": lambda peer, sealed: sealed[:-1]}, "is a byte short"),
        ("long", {"sealed": lambda peer, sealed: sealed + b"\x00"}, "is a byte too long"),
        ("empty", {"sealed": use(b"")}, "is empty"),
        ("first-bit", {"sealed": lambda peer, sealed: flip(sealed, 0)}, "has its first bit flipped"),
        ("last-bit", {"sealed": lambda peer, sealed: flip(sealed, -1)}, "has its last bit flipped"),
        ("other-key", {"pub": lambda peer, pub: _ANY_PUB[peer.suite]}, "is for another key"),
        ("info-empty", {"info": use(b"")}, "is bound to an empty info"),
        ("info-other-hello", {"info": lambda peer, info: flip(info, 18)}, "is bound to another Hello"),
        ("info-other-nonce", {"info": lambda peer, info: flip(info, -1)}, "is bound to another ns"),
        ("info-no-nonce", {"info": lambda peer, info: seal_info(peer.transcript.h[1], b"")}, "is not bound to ns"),
        ("secret-31", {"secret": use(bytes(31))}, "contains 31 bytes"),
        ("secret-33", {"secret": use(bytes(33))}, "contains 33 bytes"),
        ("secret-empty", {"secret": use(b"")}, "contains nothing"),
    )
    for name, hooks, sentence in seals:
        what = f"The sealed secret {sentence}"
        yield fault(f"welcome-sealed-{name}", "seal", what, hooks=hooks, or_else=("malformed",))
    moved = {"pub": lambda peer, pub: pub[:-1] + flip(pub[-1:])}
    yield fault("welcome-sealed-other-x25519", "seal", "Sealed to another X25519 key", hooks=moved, suites=(PQ,))
    zero_share = {"sealed": lambda peer, sealed: sealed[:1088] + bytes(32) + sealed[1120:]}
    yield fault("welcome-sealed-low-order", "seal", "The X25519 share is zero", hooks=zero_share, suites=(PQ,))
    yield fault("welcome-twice", "framing", "Welcome again instead of PROOF", act=_repeat("welcome"))
    yield from _no_proof(
        "server", "welcome", {"about": ABOUT, "reply": REPLY, "pad": PAD, "rekey": REKEY, "goodbye": GOODBYE}
    )
    hello = partial(Fault, role="server", step="hello")
    yield hello("welcome-is-hello", "malformed", "The client's own Hello is reflected", act=_reflect_hello)
    yield from _cuts("server", "welcome", "server-proof")


def _either(name: str, role: str, step: str) -> Iterator[Fault]:
    """Faults of both Hello and Welcome."""
    fault = partial(Fault, role=role, step=step)
    for length in (0, 2049, 2**31, 2**32 - 1):
        what = f"A frame length of {length}"
        yield fault(f"{name}-frame-{length}", "framing", what, hooks={"frame": announce(length)})
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.9\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"):
        protocol = {b"G": "http", b"S": "ssh", b"\x16": "tls"}[text[:1]]
        yield fault(f"{name}-{protocol}", "framing", f"Another protocol: {protocol}", hooks={"frame": use(text)})
    zeros = {"payload": lambda peer, payload: bytes(RECORD_FRAME[peer.suite])}
    yield fault(f"{name}-is-a-record", "malformed", "The first frame is as long as a record", hooks=zeros)
    for what, sentence, hooks in BAD_ENCODINGS:
        yield fault(f"{name}-{what}", "malformed", f"The message {sentence}", hooks=hooks)
    for version in (0, 2, 255, 2**64 - 1):
        yield fault(f"{name}-version-{version}", "version", f"Version {version}", hooks={"fields": put(1, version)})
    for what, suite in (("unknown", "x25519-aesgcm"), ("empty", ""), ("upper-case", PQ.upper()), ("nul", RSA + "\0")):
        yield fault(
            f"{name}-suite-{what}", "suite", f"A suite that is {what}", hooks={"fields": put(2, suite.encode())}
        )
    wrong_digest = {"fields": lambda peer, fields: (*fields[:5], flip(fields[5], -1))}
    yield fault(f"{name}-digest-wrong", "digest", "The digest's last bit is wrong", hooks=wrong_digest)
    yield fault(f"{name}-digest-zero", "digest", "The digest is zeros", hooks={"fields": put(5, bytes(32))})
    half = {"frame": lambda peer, frame: frame[: len(frame) // 2]}
    yield fault(f"{name}-half", "cut", "Half of the message, then the end of the stream", hooks=half, act=_end)


def _silence(role: str, step: str, due: str) -> Iterator[Fault]:
    """The end of the stream, or silence, instead of ``due``."""
    yield from _cuts(role, step, due)
    fault = partial(Fault, role=role, step=step)
    yield fault(f"{due}-never", "timeout", f"Silence instead of {due}", act=_nothing, slow=True)
    yield fault(
        f"{due}-never-whole", "timeout", f"Two bytes, then silence, instead of {due}", act=_two_bytes, slow=True
    )


def _cuts(role: str, step: str, due: str) -> Iterator[Fault]:
    fault = partial(Fault, role=role, step=step, category="cut")
    yield fault(f"{due}-missing", sentence=f"The end of the stream instead of {due}", act=_end)
    yield fault(f"{due}-head-only", sentence=f"The stream ends within the length of {due}", act=_two_bytes_and_end)


def _no_proof(role: str, step: str, kinds: dict[str, int]) -> Iterator[Fault]:
    for name, kind in kinds.items():
        yield Fault(
            f"{role}-{name}-before-proof",
            "order",
            f"A {name.upper()} under the handshake's keys instead of PROOF",
            role=role,
            step=step,
            act=partial(_send_record, kind),
        )


def _other_suite(peer: Peer, fields: tuple[Value, ...]) -> tuple[Value, ...]:
    return (*fields[:2], (RSA if peer.suite == PQ else PQ).encode(), *fields[3:])


def _repeat(name: str) -> "partial[None]":
    """Send a handshake message again."""
    return partial(_send_again, name)


def _send_again(name: str, peer: Peer) -> None:
    peer.sock.sendall(lp(bytes.fromhex(peer.trace.values[name])))


def _reflect_hello(server: Server) -> None:
    server.sock.sendall(lp(bytes.fromhex(server.trace.values["hello"])))


def _read_server(client: Client) -> None:
    """Read the server's response to a valid Hello."""
    client.hooks = {}
    client.read_welcome()
    client.read_server_proof()


def _send_record(kind: int, peer: Peer) -> None:
    peer.sock.sendall(record(peer, kind))


def _end(peer: Peer) -> None:
    peer.sock.shutdown(socket.SHUT_WR)


def _two_bytes(peer: Peer) -> None:
    peer.sock.sendall(b"\x00\x00")


def _two_bytes_and_end(peer: Peer) -> None:
    _two_bytes(peer)
    _end(peer)


def _nothing(peer: Peer) -> None:
    """Wait for the peer under test to end the connection."""
