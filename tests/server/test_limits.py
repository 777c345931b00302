"""Every limit is the documented one (protocol, sections 9, 11 and 13), and every option's bounds are."""

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.robots.registry import BUILT_IN
from securechat.server.settings import ServerSettings
from securechat.settings import UNBOUNDED, Option, options_of
from tests.server.test_settings import OPTIONS

KIB, MINUTE, HOUR = 1024, 60, 3600

CONSTANTS: dict[str, dict[str, object]] = {
    "wire.connection": {"MAX_AGE": 24 * HOUR, "GOODBYE_TIMEOUT": 5, "MAX_HANDSHAKE_FRAME": 2048, "MAX_CHUNK": 499},
    "wire.records": {
        "REKEY_RECORDS": 2**14,
        "REKEY_SECONDS": 15 * MINUTE,
        "MAX_SEQ": 2**16,
        "EARLY_REKEY": 2**13,
        "REKEY_BURST": 8,
        "REKEY_RATE": 1 / 60,
    },
    "wire.messages": {"MAX_ABOUT": 64, "MAX_MESSAGE": 2**26},
    "wire.shaping": {"MIN_TICK": 0.01, "MAX_TICK": 0.25, "UNIT": 50},
    "wire.host_names": {"MAX_HOST": 253},
    "server.protocol": {"STALL_TIMEOUT": 30, "SEND_BUFFER": 64 * KIB},
    "server.reading": {"LOOK_INTERVAL": 5},
    "server.deadlines": {"RECORD_TIME": 30, "MESSAGE_TIME": 60, "MESSAGE_RATE": 16 * KIB},
    "server.outbox": {"HIGH_WATER": 16 * KIB, "MAX_REPLIES": 5, "MAX_REFUSALS": 64},
    "server.message_memory": {"SHARES": 8},
    "server.admission": {
        "SUBNET_PREFIX": 64,
        "SITE_PREFIX": 48,
        "SITE_FACTOR": 4,
        "MAX_BUCKETS": 4096,
        "USERS_SHARE": 10,
    },
    "server.accounts": {"MAX_SOURCES": 4096},
    "server.bookkeeping": {"INTERVAL": 3, "STOP_TIMEOUT": 5},
    "server.quotas": {"MINUTE": MINUTE},
    "server.watched_file": {"REMINDER_INTERVAL": MINUTE},
    "server.log_limit": {
        "BURST": 16 * KIB,
        "RATE": 512,
        "SUMMARY_INTERVAL": 10,
        "MAX_KINDS": 64,
        "MAX_LINE": 100,
    },
    "server.startup": {"SPARE_FILES": 64},
    "robots.circuit_breaker": {"FIRST_PAUSE": 1, "LONGEST_PAUSE": 60, "JITTER": 0.2, "MAX_FAILURES": 3},
    "robots.settings": {"MAX_SECONDS": HOUR, "MAX_CONCURRENT": 10_000},
    "robots.http.pool": {"IDLE_TIMEOUT": 4},
    "robots.http.connection": {"MAX_HEAD": 128 * KIB},
    "robots.http.content_coding": {"MAX_PIECE": 64 * KIB},
    "robots.http.endpoint": {"CONNECT_TIMEOUT": 3, "RETRY_DELAYS": ((0.1, 0.2), (0.3, 0.6))},
    "robots.turing.robot": {"MAX_TEXT": 128, "MAX_BODY": KIB * KIB, "RETRY_DELAY": 1, "TOO_FAST_PAUSE": 10},
    "robots.turing.messages": {"MAX_GROUP_ID": 64},
    "robots.eliza.robot": {"MAX_READ": 250, "MAX_TURNS": 40},
    "robots.eliza.script": {"MAX_REST": 60, "RECALL_EVERY": 3},
}

# For each number: a value below its bounds, the lowest, the highest, and a value above.
MANY = str(UNBOUNDED)
TOO_MANY = str(UNBOUNDED + 1)
COUNT = ("0", "1", MANY, TOO_MANY)
ABOVE_ZERO = ("0", "0.000001", MANY, TOO_MANY)
SERVER_BOUNDS = {
    **dict.fromkeys(
        (
            *("max-buffered", "max-reply", "history-turns", "history-bytes", "max-sessions", "max-sessions-per-user"),
            *("max-sessions-per-source", "max-handshakes", "max-handshakes-per-source", "handshake-burst"),
            "message-burst",
            "call-burst",
            "usage-days",
        ),
        COUNT,
    ),
    **dict.fromkeys(("handshake-rate", "message-rate", "call-rate", "hello-timeout", "proof-timeout"), ABOVE_ZERO),
    **dict.fromkeys(
        (
            *("messages-per-minute", "messages-per-day", "calls-per-minute", "calls-per-day", "tokens-per-day"),
            "max-replies",
        ),
        ("-1", "0", MANY, TOO_MANY),
    ),
    "idle-timeout": ("-0.001", "0", MANY, TOO_MANY),
    "drain": ("-0.001", "0", "3600", "3600.1"),
    "tick": ("0.0099", "0.01", "0.25", "0.2501"),
    "width": ("0", "1", "64", "65"),
    "max-message": ("4095", "4096", "67108864", "67108865"),
}
TURING_BOUNDS = {"timeout": ("0", "0.001", "3600", "3600.1"), "max-concurrent": ("0", "1", "10000", "10001")}


class ConstantTests(SynchronousTestCase):
    """Limits that are not options."""

    def test_values(self) -> None:
        """Each has the value that the documentation states."""
        for module, expected in CONSTANTS.items():
            found = vars(import_module(f"securechat.{module}"))
            self.assertEqual({name: found[name] for name in expected}, expected, module)


class BoundsTests(SynchronousTestCase):
    """Options that are numbers."""

    def check(self, options: dict[str, Option], bounds: dict[str, tuple[str, str, str, str]]) -> None:
        for name, (below, low, high, above) in bounds.items():
            for text in (low, high):
                self.assertEqual(float(options[name].read(text)), float(text), name)
            for text in (below, above, "nan", "x", ""):
                self.assertRaises(ConfigurationError, options[name].read, text)

    def test_server(self) -> None:
        """The daemon's options accept their lowest and highest value, and nothing beyond."""
        options = {option.name: option for option in options_of(ServerSettings)}
        numbers = {name for name, option in options.items() if type(OPTIONS[option.attribute][1]) in (int, float)}
        self.assertEqual(numbers, SERVER_BOUNDS.keys())
        self.check(options, SERVER_BOUNDS)

    def test_turing(self) -> None:
        """So do those of the Turing robot."""
        self.check({option.name: option for option in options_of(BUILT_IN["turing"].settings)}, TURING_BOUNDS)
