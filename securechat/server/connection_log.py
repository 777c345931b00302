"""The log lines of a connection: refused, or admitted, or aborted, or ended.

Each line identifies the client by itself, for tools such as fail2ban and for people who search the log. All events have
the fields of `log_format.FIELDS`, as far as they are known.
"""

import json
from collections.abc import Callable, Mapping

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from securechat.errors import Category
from securechat.server.addresses import place_of
from securechat.ssh import keys
from securechat.ssh.certificates import Certificate
from securechat.transport import IChatTransport
from securechat.wire.messages import Reason
from securechat.wire.server_connection import ServerConnection

log = Logger()

ANONYMOUS = "anonymous"


def _fields(number: int, address: IAddress) -> dict[str, object]:
    """The fields that are known of every client. `peer` is the address for people."""
    peer = place_of(address)
    if isinstance(address, IPv4Address | IPv6Address):
        return {"client": number, "peer": peer, "address": address.host, "port": address.port}
    return {"client": number, "peer": peer, "address": peer, "port": None}


def refused(number: int, address: IAddress, category: Category) -> None:
    """A connection was closed before its handshake began."""
    log.warn(
        "client {client} from {peer}: refused ({category})",
        event="refused",
        category=category.value,
        **_fields(number, address),
    )


class ConnectionLog:
    """What is logged of a connection that was accepted."""

    __slots__ = ("_certificate", "_connection", "_number", "_started", "_transport", "_user")

    def __init__(self, number: int, transport: IChatTransport, connection: ServerConnection, now: float) -> None:
        """`now`, in monotonic seconds, is when the connection was made."""
        self._number = number
        self._transport = transport
        self._connection = connection
        self._started = now
        self._user: str | None = None  # once admitted; empty if anonymous
        self._certificate: Certificate | None = None

    def admitted(self, user: str, now: float, certificate: Certificate | None = None) -> None:
        """The handshake has succeeded. `user` is empty for an anonymous client.

        `certificate` is what authorizes the user, if it is one.
        """
        self._user = user
        self._certificate = certificate
        fields = self._fields(now)
        log.info(
            "client {client} from {peer}: admitted as {name}{details}",
            name=user or ANONYMOUS,
            details=_details(fields),
            event="admitted",
            **fields,
        )

    def aborted(self, category: Category, now: float) -> None:
        """The connection was closed because of an error or a limit."""
        self._end(log.warn, "aborted", category, None, now)

    def ended(self, reason: Reason | None, now: float, *, cut: bool) -> None:
        """The connection is closed. `reason` is that of the first GOODBYE; `cut`: the client's is missing."""
        self._end(log.info, "ended", Category.CUT if cut else None, reason, now)

    def _end(
        self, write: Callable[..., None], event: str, category: Category | None, reason: Reason | None, now: float
    ) -> None:
        fields = self._fields(now)
        fields["category"] = category and category.value
        fields["reason"] = None if reason is None else reason.name.lower().replace("_", "-")
        details = _details(fields)
        # Each text has a limit of its own (log_limit.py): strangers cannot displace the lines of users.
        text = f"client {{client}} from {{peer}}: {event} ({{why}}){{details}}"
        if self._user is not None:
            text = f"client {{client}} from {{peer}}: {event} ({{why}}) as {{name}}{{details}}"
            details += f", {fields['duration']:.1f} s, messages {fields['messages']}"
            details += f", records received {fields['records_received']}, sent {fields['records_sent']}"
        why = fields["category"] or fields["reason"]
        write(text, event=event, why=why, name=self._user or ANONYMOUS, details=details, **fields)

    def _described(self, certificate: Certificate) -> str:
        """As in sshd's log, but without the key ID of a certificate that authorizes no user: anyone can make one."""
        text = f"(serial {certificate.serial}) CA {keys.fingerprint(certificate.ca)}"
        if certificate is not self._certificate:
            return text
        key_id = certificate.key_id.decode(errors="replace")
        printable = "".join(char if char.isprintable() else "?" for char in key_id)
        return f"ID {json.dumps(printable, ensure_ascii=False)} {text}"

    def _fields(self, now: float) -> dict[str, object]:
        connection = self._connection
        return {
            **_fields(self._number, self._transport.getPeer()),
            "user": self._user or None,
            "key": keys.fingerprint(connection.user_key) if connection.user_key else None,
            "certificate": self._described(connection.certificate) if connection.certificate else None,
            "suite": connection.suite_name or None,
            "duration": round(now - self._started, 3),
            "messages": connection.next_say_id - 1,
            "records_received": connection.records_received,
            "records_sent": connection.records_sent,
        }


def _details(fields: Mapping[str, object]) -> str:
    """The key, unless its fingerprint is the user's name, certificate and suite, as far as they are known."""
    text = ""
    if fields["key"] not in (None, fields["user"]):
        text += f", key {fields['key']}"
    if fields["certificate"] is not None:
        text += f", certificate {fields['certificate']}"
    if fields["suite"] is not None:
        text += f", suite {fields['suite']}"
    return text
