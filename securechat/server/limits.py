"""The limits of a user. An operator sets those of all users, and for single users others."""

from typing import Annotated

from msgspec import Meta

from securechat.i18n import N_
from securechat.settings import UNBOUNDED, Settings

Limit = Annotated[int, Meta(ge=0, le=UNBOUNDED)]


class UserLimits(Settings, frozen=True):
    """What one user may use. 0 is no limit.

    The limits of a single user are those of all users with some replaced: ``msgspec.structs.replace(limits, **given)``.
    """

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
