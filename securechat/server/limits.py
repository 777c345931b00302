"""The limits of a user. An operator sets limits for all users, and other ones for single users."""

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from securechat.config_file import ConfigFile
from securechat.i18n import N_
from securechat.settings import UNBOUNDED, Settings

Limit = Annotated[int, Meta(ge=0, le=UNBOUNDED)]


class UserLimits(Settings, frozen=True):
    """What one user may use. 0 is no limit."""

    messages_per_minute: Annotated[
        Limit, Meta(description=N_("Maximum number of messages that one user may send in a minute; 0 for no limit"))
    ] = 0

    messages_per_day: Annotated[
        Limit, Meta(description=N_("Maximum number of messages that one user may send in a day (UTC); 0 for no limit"))
    ] = 0

    calls_per_minute: Annotated[
        Limit, Meta(description=N_("Maximum number of API requests that one user may send in a minute; 0 for no limit"))
    ] = 0

    calls_per_day: Annotated[
        Limit,
        Meta(description=N_("Maximum number of API requests that one user may send in a day (UTC); 0 for no limit")),
    ] = 0

    tokens_per_day: Annotated[
        Limit,
        Meta(
            description=N_(
                "Number of tokens, of messages and replies, after which one user's messages are refused until the end "
                "of the day (UTC); 0 for no limit"
            )
        ),
    ] = 0

    max_replies: Annotated[
        Limit,
        Meta(
            description=N_("Maximum number of concurrent replies to one user, over all sessions; 0 for no limit"),
        ),
    ] = 0


def limits_in(file: ConfigFile, default: UserLimits) -> dict[str, UserLimits]:
    """The limits in the tables ``[user.NAME]``, by name, with those of `default` that a table omits.

    ConfigurationError if one is wrong.
    """
    return {table.names[-1]: replace(default, **table.read(UserLimits)) for table in file.tables("user")}
