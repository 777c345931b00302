"""Options of keys in authorized_keys (see sshd(8), AUTHORIZED_KEYS FILE FORMAT): ``from`` and ``expiry-time``."""

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
    """Conditions for the use of a key."""

    sources: AddressPatterns | None = None
    expires: float | None = None  # seconds since the epoch

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
    return found


def _add(options: KeyOptions, name: str, value: str | None) -> KeyOptions:
    if name not in ("from", "expiry-time"):
        raise ValueError(_("not supported; remove it"))
    if value is None:
        raise ValueError(_("expected a value in double quotes"))
    if name == "expiry-time":
        expires = _parse_time(value)
        return replace(options, expires=expires if options.expires is None else min(expires, options.expires))
    if options.sources is not None:
        raise ValueError(_("given twice"))
    return replace(options, sources=AddressPatterns(value))


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
