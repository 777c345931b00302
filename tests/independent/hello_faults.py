"""Faults in Hello and Welcome, and in what stands in their places."""

import socket
from collections.abc import Iterator
from functools import partial

from tests.independent.bad_encodings import BAD_ENCODINGS
from tests.independent.bad_pubs import bad_pq, bad_rsa
from tests.independent.bending import announce, flip, put, record, use
from tests.independent.client import Client
from tests.independent.faults import OTHER_SUITE_ONLY, Fault
from tests.independent.peer import Peer
from tests.independent.records import ABOUT, GOODBYE, PAD, REKEY, REPLY, SAY
from tests.independent.schedule import lp, seal_info
from tests.independent.server import Server
from tests.independent.suites import PQ, RECORD_FRAME, RSA, SUITES, make_key_pair, seal

# Of the right form; nobody opens what is sealed to it
_ANY_PUB = {suite: make_key_pair(suite, lambda size: bytes(range(size))).pub for suite in SUITES}
_PQ_SEALED = 1168  # bytes


def hello_faults() -> Iterator[Fault]:
    yield from _either("hello", "client", "hello")
    fault = partial(Fault, role="client", step="hello")
    yield fault("hello-suite-swapped", "key", "pub is one suite's, suite the other's", {"fields": _swap_suite},
                or_else=("malformed",))  # fmt: skip
    yield fault("hello-suite-not-allowed", "suite", "The suite is one that the operator shut off", setting=OTHER_SUITE_ONLY)
    for suite, bad in ((PQ, bad_pq), (RSA, bad_rsa)):
        for name, pub in bad(_ANY_PUB[suite]):
            kind = "pq" if suite == PQ else "rsa"
            yield fault(f"hello-{kind}-pub-{name}", "key", f"A key that the suite does not take: {name}", {"pub": use(pub)},
                        suites=(suite,), or_else=("malformed",))  # fmt: skip
