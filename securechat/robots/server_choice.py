"""The choice of one of several servers for a request.

A server that has answered a conversation keeps most of it in its prompt cache, so a user's requests go to the same
server while that is healthy and not much busier than the others: rendezvous hashing with bounded loads.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

MOST: Final = 1.5  # times the average number of requests: with more, a server is skipped in the order of users


class Candidate(NamedTuple):
    """A server at the moment of the choice."""

    name: str
    is_healthy: bool
    requests: int  # those that it answers, and those that wait for it


def choose(user: str, servers: Sequence[Candidate], limit: int) -> Candidate:
    """The server for a request of a user, one of those that are healthy, or of all if none is.

    It is the first in the user's order that answers fewer than `limit` requests and has no more than MOST times the
    average, this one included; if there is none, the one with the fewest. The order follows from the names alone: it
    is the same in all daemons that know the user by the same pseudonym, and another server does not change it.
    """
    healthy = [server for server in servers if server.is_healthy] or servers
    average = (sum(server.requests for server in healthy) + 1) / len(healthy)
    most = min(limit, math.ceil(MOST * average))
    in_order = sorted(healthy, key=lambda server: sha256(f"{server.name} {user}".encode()).digest())
    return next((server for server in in_order if server.requests < most), None) or min(
        in_order, key=lambda server: server.requests
    )
