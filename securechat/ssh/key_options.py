"""Options of keys in authorized_keys (see sshd(8), AUTHORIZED_KEYS FILE FORMAT).

These are ``from`` and ``expiry-time``, and for the authorities of certificates ``cert-authority`` and ``principals``.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from securechat.i18n import _
from securechat.ssh.address_patterns import AddressPatterns

_QUOTED: Final = r'"((?:\\"|\\(?!")|[^"\\])*)"'  # a backslash escapes a double quote, and nothing else
_FIELD: Final = re.compile(rf'((?:[^ \t"]|{_QUOTED})+)[ \t]+(.*)')
_OPTION: Final = re.compile(rf"([A-Za-z0-9-]{{1,64}})(?:={_QUOTED})?(,|$)", re.ASCII)
_TIME: Final = re.compile(r"([0-9]{8})(?:([0-9]{4})([0-9]{2})?)?(Z|UTC)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Conditions for the use of a key, or of the certificates that it has signed."""

    sources: AddressPatterns | None = None
    expires: float | None = None  # seconds since the epoch
    cert_authority: bool = False  # the key itself is not authorized
    principals: frozenset[bytes] | None = None  # of which a certificate must have one

    def allow(self, host: str, now: float) -> bool:
        """Whether the key may be used now by a client with this address, empty if it has none."""
        if self.expires is not None and now > self.expires:
            return False
        return self.sources is None or self.sources.match(host)


NO_OPTIONS: Final = KeyOptions()


def split_options(line: str) -> tuple[str, str]:
    """The options at the beginning of a line, and the rest; ValueError, for the user, if they do not end."""
    parts = _FIELD.fullmatch(line)
    if parts is None:
        raise ValueError(_("not valid key options; correct or remove them"))
    return parts[1], parts[3]


def parse_options(text: str) -> KeyOptions:
    """The options in the first field of a line; ValueError, for the user, if one is invalid or not supported.

    No option is ignored, because the restriction that it asks for would not be enforced.
    """
    found = KeyOptions()
    position, has_more = 0, True
    while has_more:
        option = _OPTION.match(text, position)
        if option is None:
            raise ValueError(_("not valid key options; correct or remove them"))
        position, has_more = option.end(), option[3] == ","
        name = option[1].lower()
        try:
            found = _add(found, name, option[2])
        except ValueError as error:
            raise ValueError(_("key option {name}: {problem}").format(name=name, problem=error)) from None
    if found.principals is not None and not found.cert_authority:
        raise ValueError(_("key option {name}: requires cert-authority").format(name="principals"))
    return found


def _add(options: KeyOptions, name: str, value: str | None) -> KeyOptions:
    if name == "cert-authority":
        if value is not None:
            raise ValueError(_("expected no value"))
        return replace(options, cert_authority=True)
    if name not in ("from", "expiry-time", "principals"):
        raise ValueError(_("not supported; remove it"))
    if value is None:
        raise ValueError(_("expected a value in double quotes"))
    if name == "expiry-time":
        expires = _parse_time(value)
        return replace(options, expires=expires if options.expires is None else min(expires, options.expires))
    if (options.sources if name == "from" else options.principals) is not None:
        raise ValueError(_("given twice"))
    if name == "from":
        return replace(options, sources=AddressPatterns(value))
    principals = value.split(",")
    if not all(principals):
        raise ValueError(_("expected principals, separated by commas"))
    return replace(options, principals=frozenset(principal.encode() for principal in principals))


def _parse_time(text: str) -> float:
    """Seconds since the epoch at ``YYYYMMDD[HHMM[SS]]``, which is local time unless a ``Z`` follows."""
    parts = _TIME.fullmatch(text)
    try:
        if parts is None:
            raise ValueError
        date, minute, second, zone = parts.groups("")
        time = datetime.strptime(date + (minute or "0000") + (second or "00"), "%Y%m%d%H%M%S")
        return (time.replace(tzinfo=UTC) if zone else time).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(_("expected YYYYMMDD[HHMM[SS]][Z]")) from None
