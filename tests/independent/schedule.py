"""Sections 0, 4 and 5: hashes, the transcript and all keys."""

import hashlib
import hmac
from dataclasses import dataclass


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


# Section 0 (RFC 5869)


def extract(salt: bytes, secret: bytes) -> bytes:
    return mac(salt, secret)


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    blocks = b""
    block = b""
    counter = 1
    while len(blocks) < size:
        block = mac(prk, block + info + bytes([counter]))
        blocks += block
        counter += 1
    return blocks[:size]


def derive(prk: bytes, label: str, context: bytes = b"", size: int = 32) -> bytes:
    """``E`` of section 0."""
    return expand(prk, b"securechat/1 " + label.encode() + b"\x00" + context, size)


# Section 3


def seal_info(h1: bytes, ns: bytes) -> bytes:
    return b"securechat/1 seal\x00" + h1 + ns


class Transcript:
    """Section 4. ``h[i]`` exists once everything it covers was sent or received."""

    def __init__(self, suite: str) -> None:
        self.h = [sha256(b"securechat/1\x00" + suite.encode())]

    def hello(self, payload: bytes) -> None:
        self._add(1, lp(payload))

    def welcome(self, payload: bytes) -> None:
        self._add(2, lp(payload))

    def server_body(self, sb: bytes) -> None:
        self._add(3, lp(sb))

    def server_signature(self, sig_s: bytes) -> None:
        self._add(4, lp(sig_s))

    def client_body(self, mac_s: bytes, cb: bytes) -> None:
        self._add(5, lp(mac_s) + lp(cb))

    def client_signature(self, sig_c: bytes) -> None:
        self._add(6, lp(sig_c))

    def client_mac(self, mac_c: bytes) -> None:
        self._add(7, lp(mac_c))

    def _add(self, number: int, data: bytes) -> None:
        assert number == len(self.h)
        self.h.append(sha256(self.h[-1] + data))


# Section 5


@dataclass(frozen=True, repr=False)
class HandshakeKeys:
    prk: bytes
    hs_client: bytes
    hs_server: bytes
    fin_client: bytes
    fin_server: bytes
    master: bytes


def handshake_keys(secret: bytes, h2: bytes) -> HandshakeKeys:
    prk = extract(h2, secret)
    return HandshakeKeys(
        prk,
        derive(prk, "hs client", h2),
        derive(prk, "hs server", h2),
        derive(prk, "finished client", h2),
        derive(prk, "finished server", h2),
        derive(prk, "master", h2),
    )


@dataclass(frozen=True, repr=False)
class SessionKeys:
    app: bytes
    ts_client: bytes
    ts_server: bytes
    session_id: bytes


def session_keys(master: bytes, h7: bytes) -> SessionKeys:
    app = extract(h7, master)
    return SessionKeys(
        app,
        derive(app, "app client", h7),
        derive(app, "app server", h7),
        derive(app, "session id", h7, 16),
    )


def traffic_key(ts: bytes) -> bytes:
    return derive(ts, "key")


def traffic_iv(ts: bytes) -> bytes:
    return derive(ts, "iv", size=12)


def next_traffic_secret(ts: bytes) -> bytes:
    return derive(ts, "next")
