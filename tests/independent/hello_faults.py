"""Faults in Hello and Welcome, and in what stands in their places."""

import socket
import time
from collections.abc import Callable, Iterator

from tests.independent.bad_encodings import BAD_ENCODINGS
from tests.independent.bad_pubs import bad_pq, bad_rsa
from tests.independent.bending import GARBAGE, announce, flip, put, record, use
from tests.independent.client import Client
from tests.independent.faults import OTHER_SUITE_ONLY, Fault
from tests.independent.peer import Hook
from tests.independent.records import ABOUT, GOODBYE, PAD, PROOF, REKEY, REPLY, SAY
from tests.independent.schedule import lp, seal_info, sha256
from tests.independent.server import Server
from tests.independent.suites import PQ, RECORD_FRAME, RSA, SUITES, make_key_pair, seal

_ANY_PUB = {
    suite: make_key_pair(suite, lambda size: bytes(range(size))).pub for suite in SUITES
}  # of the right form; nobody opens what is sealed to it


def hello_faults() -> Iterator[Fault]:
    def fault(name: str, category: str, sentence: str, **more: object) -> Fault:
        return Fault(f"hello-{name}", "client", str(more.pop("step", "hello")), category, sentence, **more)  # type: ignore[arg-type]

    yield from _both("hello", "client", "hello", "Hello")
    for suite, bad in ((PQ, bad_pq), (RSA, bad_rsa)):
        for name, pub in bad(_ANY_PUB[suite]):
            yield fault(
                f"{'pq' if suite == PQ else 'rsa'}-pub-{name}",
                "framing" if len(pub) > 2048 else "key",
                f"pub is wrong in this way: {name}",
                hooks={"pub": use(pub)},
                suites=(suite,),
                or_else=("malformed",),
            )
