"""The settings of the robot `turing`."""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from securechat.i18n import N_
from securechat.robots.settings import MaxConcurrent, Seconds, parse_url
from securechat.robots.turing.messages import MAX_GROUP_ID
from securechat.settings import Settings

DEFAULT_CITY: Final = "武汉"
DEFAULT_PROVINCE: Final = "湖北"  # of that city


class TuringSettings(Settings, frozen=True):
    """What an operator can set for the Turing robot."""

    url: Annotated[str, Meta(description=N_("URL of the API"), extra={"parse": parse_url, "private": True})] = (
        "http://openapi.tuling123.com/openapi/api/v2"
    )

    key_file: Annotated[
        Path | None,
        Meta(
            description=N_("file with the API key, readable only by its owner"),
            extra={"default": N_("the variable SECURECHAT_TURING_KEY")},
        ),
    ] = None

    secret_file: Annotated[
        Path | None,
        Meta(description=N_("file with the API's secret, if encryption is enabled in the service's console")),
    ] = None

    city: Annotated[str, Meta(description=N_("city that questions come from; if empty, no location is sent"))] = (
        DEFAULT_CITY
    )

    province: Annotated[
        str | None,
        Meta(
            description=N_("province of the city; another city than the default has none unless it is given"),
            extra={"default": DEFAULT_PROVINCE},
        ),
    ] = None

    street: Annotated[str, Meta(description=N_("street in the city"))] = ""

    group: Annotated[
        str, Meta(max_length=MAX_GROUP_ID, description=N_("group of the service that all users belong to"))
    ] = ""

    timeout: Annotated[Seconds, Meta(description=N_("time allowed for an answer"))] = 15.0

    max_concurrent: MaxConcurrent = 16  # the service documents no limit
