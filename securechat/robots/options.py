"""The values of robots' options: read once, at the start, with one clear line for what does not fit."""

import ipaddress
import math
from typing import Final

from twisted.logger import Logger
from twisted.python.url import URL

from securechat.errors import ConfigurationError
from securechat.i18n import _

log = Logger()

MAX_SECONDS: Final = 3600.0


def parse_address(option: str, text: str) -> URL:
    """An http or https address; ConfigurationError if it is none. Its text is not shown: it may hold a password.

    Logs a warning if others can listen to what is sent there.
    """
    try:
        url = URL.fromText(text)
        # An IPv6 address is no name, for which hyperlink would take it.
        url = url.replace(host="v6").to_uri().replace(host=url.host) if ":" in url.host else url.to_uri()
        scheme = url.scheme.lower()
        valid = scheme in ("http", "https") and url.host and not url.userinfo and 0 < (url.port or 0) < 2**16
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            _("-R {option}: an address such as http://HOST:PORT/PATH is wanted").format(option=option)
        )
    if scheme == "http" and not _is_this_machine(url.host):
        log.warn(
            _("the way to {host} is plain HTTP: whoever is on it reads the conversation and the key"), host=url.host
        )
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_seconds(option: str, text: str) -> float:
    """A time, more than nothing and at most MAX_SECONDS."""
    return parse_number(option, text, above=0.0, most=MAX_SECONDS)


def parse_number(option: str, text: str, *, above: float = -math.inf, least: float = -math.inf, most: float) -> float:
    """A number between two others; ConfigurationError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (above < value and least <= value <= most):
        raise ConfigurationError(_("-R {option}={value}: no such number").format(option=option, value=text))
    return value


def parse_count(option: str, text: str, *, most: int) -> int:
    """A whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise ConfigurationError(
            _("-R {option}={value}: a whole number from 1 to {most} is wanted").format(
                option=option, value=text, most=most
            )
        )
    return value
