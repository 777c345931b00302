"""What the settings of several robots have in common: addresses, times, and the limit on concurrent questions."""

import ipaddress
from typing import Annotated, Final

from msgspec import Meta
from twisted.logger import Logger
from twisted.python.url import URL

from securechat.i18n import N_, _

log = Logger()

MAX_SECONDS: Final = 3600.0
MAX_CONCURRENT: Final = 10_000

Seconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra={"unit": N_("seconds")})]

# With a field of this type and name, `max_concurrent`, a robot is guarded: by a queue, and by a circuit breaker.
MaxConcurrent = Annotated[int, Meta(ge=1, le=MAX_CONCURRENT, description=N_("maximum number of concurrent questions"))]


def parse_url(text: str) -> str:
    """An http or https URL in its ASCII form; ValueError if `text` is none, or has a user name or password."""
    try:
        url = URL.fromText(text)
        # hyperlink would encode an IPv6 address as if it were a host name.
        url = url.replace(host="v6").to_uri().replace(host=url.host) if ":" in url.host else url.to_uri()
        valid = (
            url.scheme.lower() in ("http", "https") and url.host and not url.userinfo and 0 < (url.port or 0) < 2**16
        )
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(_("expected a URL such as http://HOST:PORT/PATH, without a password"))
    return url.to_text()


def warn_if_exposed(url: str) -> None:
    """Log a warning if what is sent to this URL, from `parse_url`, can be read on its way."""
    parsed = URL.fromText(url)
    if parsed.scheme.lower() == "http" and not _is_this_machine(parsed.host):
        log.warn(
            "the connection to {host} is not encrypted: the conversation and the key can be read on the network",
            host=parsed.host,
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
