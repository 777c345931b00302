"""Users who are authorized by a certificate."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from securechat.conversation import Conversation
from securechat.robots.interface import IRobot
from securechat.server.keys_command import KeysCommand
from securechat.server.users import AuthorizedUsers, CommandUsers, UnlessRevoked, Users
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys, Entry
from securechat.ssh.certificates import Certificate
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.certificates import CA, issue, source_address
from tests.harness.pair import USER_KEY, identity
from tests.harness.robot import PuppetRobot
from tests.server.test_protocol import ServerTestCase, Session, Wire

BOB = keys.SigningKey.generate()
TEAM = f'cert-authority,principals="chat" {keys.public_line(CA.blob)}\n'
LISTED = keys.public_line(USER_KEY.blob, "alice") + "\n"


class CertificateTestCase(ServerTestCase):
    """A server with a file of authorized keys and one of revoked keys."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        self.paths = [Path(self.mktemp()) for _ in range(2)]
        self.write(0, TEAM)
        self.write(1, "")
        self.use(AuthorizedUsers(self.paths[0], self.clock.seconds, lambda: self.now))

    def write(self, number: int, text: str) -> None:
        self.paths[number].write_text(text)
        self.paths[number].chmod(0o600)

    def use(self, users: Users) -> None:
        self.users = UnlessRevoked(users, self.paths[1], self.clock.seconds)
        self.factory = self.make_factory(client_auth=self.users.client_auth, users=self.users)
        self.factory.identity = identity(self.users.client_auth, self.users.is_authorized)

    def session(self, credential: bytes, key: keys.SigningKey = USER_KEY, host: str = "192.0.2.7") -> Session:
        wire = Wire(IPv4Address("TCP", host, 5555))
        return Session(self.factory, user_key=key, credential=credential, wire=wire)

    def name_of(self, session: Session) -> str:
        session.pump()
        [*_before, event] = session.events
        assert isinstance(event, Admitted)
        session.events.clear()
        return event.user

    def assertRefused(self, credential: bytes, key: keys.SigningKey = USER_KEY, host: str = "192.0.2.7") -> None:
        session = self.session(credential, key, host)
        session.pump()
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"aborted \(user-key\)")
        session.lose()
        self.logged.clear()


class AdmissionTests(CertificateTestCase):
    """Whom the server admits."""

    def test_admitted(self) -> None:
        """A user with a certificate of the team's authority is admitted by its key ID, the key alone is not."""
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"chat"))), "alice@laptop")
        self.assertRefused(USER_KEY.blob)

    def test_refused(self) -> None:
        """Another authority, no principal of the list, another time or address, and another's key are refused."""
        other = keys.SigningKey.generate()
        for credential in (
            issue(USER_KEY, b"chat", ca=other),
            issue(USER_KEY, b"alice"),
            issue(USER_KEY, b"chat", valid_after=1001),
            issue(USER_KEY, b"chat", valid_before=1000),
            issue(USER_KEY, b"chat", options=source_address(b"192.0.2.8")),
        ):
            self.assertRefused(credential)
        good = issue(USER_KEY, b"chat", valid_after=1000, valid_before=1001, options=source_address(b"192.0.2.7"))
        self.assertEqual(self.name_of(self.session(good)), "alice@laptop")
        self.assertRefused(good, host="192.0.2.8")

    def test_ownLine(self) -> None:
        """A key that is listed is accepted with a certificate of an authority that is not, as it is without one."""
        self.write(0, LISTED)
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"chat"))), "alice")
        self.write(0, TEAM + LISTED)
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"chat"))), "alice@laptop")
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"x"))), "alice")

    def test_ownLineButRefused(self) -> None:
        """A certificate that an authority's line is for, but that is not valid now and here, is not of its own line."""
        self.write(0, TEAM + LISTED)
        for credential in (
            issue(USER_KEY, b"chat", valid_before=1000),
            issue(USER_KEY, b"chat", options=source_address(b"192.0.2.8")),
        ):
            self.assertRefused(credential)
        self.assertEqual(self.name_of(self.session(USER_KEY.blob)), "alice")

    def test_restrictedAuthority(self) -> None:
        """The options of an authority's line apply, in addition to those of the certificate."""
        for option, host in (('from="192.0.2.7"', "192.0.2.8"), ('expiry-time="19700101000000Z"', "192.0.2.7")):
            self.write(0, f"{option},{TEAM}")
            self.assertRefused(issue(USER_KEY, b"chat"), host=host)
        self.write(0, f'from="192.0.2.0/24",expiry-time="19700101001640Z",{TEAM}')
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"chat"))), "alice@laptop")
        self.assertRefused(issue(USER_KEY, b"chat", options=source_address(b"192.0.2.8")))

    def test_ownAuthority(self) -> None:
        """A key that is an authority is accepted with a certificate that it has signed for itself, and not alone."""
        self.assertEqual(self.name_of(self.session(issue(CA, b"chat"), CA)), "alice@laptop")
        self.assertRefused(CA.blob, CA)

    def test_anyone(self) -> None:
        """A server that admits everyone treats the user as one with the key alone, whatever the certificate is for."""
        self.factory = self.make_factory()
        for credential in (
            issue(USER_KEY, b"chat"),
            issue(USER_KEY, b"chat", valid_before=1),
            issue(USER_KEY, b"chat", options=source_address(b"192.0.2.8")),
        ):
            self.assertEqual(self.name_of(self.session(credential)), keys.fingerprint(USER_KEY.blob))
        self.assertRefused(issue(USER_KEY))

    def test_sameUser(self) -> None:
        """A user counts as one, and has one pseudonym, whatever key a certificate is for; two users do not."""
        seen: list[str] = []

        class Curious(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                seen.append(conversation.user_id)
                yield "hello"

        self.factory.configure(self.factory.settings, self.users, cast(IRobot, Curious()), {})
        for key, key_id in ((USER_KEY, b"alice"), (BOB, b"alice"), (BOB, b"bob")):
            self.session(issue(key, b"chat", key_id=key_id), key).open().say("x")
        self.assertEqual((seen[0] == seen[1], len(set(seen))), (True, 2))
        self.assertEqual(len({session.place.holder for session in self.factory.sessions}), 2)

    def test_limit(self) -> None:
        """The number of sessions is limited for each user, not for each key."""
        self.factory.admission.configure(self.factory.settings, has_users=True)
        limit = self.factory.settings.max_sessions_per_user
        for _number in range(limit):
            key = keys.SigningKey.generate()
            self.session(issue(key, b"chat"), key).open()
        key = keys.SigningKey.generate()
        session = self.session(issue(key, b"chat"), key)
        session.pump()
        self.assertTrue(session.wire.aborted)
        self.assertLogged(r"aborted \(limit\)")


class WithdrawalTests(CertificateTestCase):
    """Sessions of users with certificates, at a reload."""

    def reload(self) -> None:
        self.users.reload()
        self.factory.drop_unauthorized()

    def assertEnds(self, session: Session) -> None:
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)])

    def test_revoked(self) -> None:
        """Revoking the key or the authority ends open sessions, and refuses new ones."""
        for revoked in (
            keys.fingerprint(USER_KEY.blob),
            keys.public_line(USER_KEY.blob),
            keys.fingerprint(CA.blob),
            keys.public_line(CA.blob),
        ):
            self.write(1, "")
            session = self.session(issue(USER_KEY, b"chat")).open()
            self.write(1, revoked)
            self.assertRefused(issue(USER_KEY, b"chat"))
            session.pump()
            self.assertEqual(session.events, [])
            self.reload()
            self.assertEnds(session)

    def test_revokedWithOwnLine(self) -> None:
        """A certificate of a revoked authority is refused, although the key is listed; the key alone is accepted."""
        self.write(0, TEAM + LISTED)
        self.write(1, keys.fingerprint(CA.blob))
        self.assertRefused(issue(USER_KEY, b"chat"))
        self.assertEqual(self.name_of(self.session(USER_KEY.blob)), "alice")

    def test_authorityRemoved(self) -> None:
        """Removing the authority's line, or a principal from it, ends the sessions that need it."""
        for text in ("", TEAM.replace("chat", "ops")):
            self.write(0, TEAM)
            session = self.session(issue(USER_KEY, b"chat")).open()
            self.write(0, text)
            self.reload()
            self.assertEnds(session)

    def test_expired(self) -> None:
        """A session outlives its certificate, as with sshd, until the next reload."""
        session = self.session(issue(USER_KEY, b"chat", valid_before=2000)).open()
        self.now = 2000.0
        self.clock.advance(1)
        session.pump()
        self.assertEqual(session.events, [])
        self.assertRefused(issue(USER_KEY, b"chat", valid_before=2000))
        self.reload()
        self.assertEnds(session)


class FakeCommand:
    """Prints the same lines for each key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[Certificate | None] = []

    def look_up(self, blob: bytes, certificate: Certificate | None) -> Deferred[Entry | None]:
        self.asked.append(certificate)
        found: Deferred[Entry | None] = Deferred()
        found.callback(AuthorizedKeys.parse(self.text.encode(), Path("x"), max_name=64).entry_of(blob, certificate))
        return found


class CommandTests(CertificateTestCase):
    """A program that prints the lines of authorities."""

    def test_command(self) -> None:
        """The program is told the certificate, and its lines count like those of the file, reloads included."""
        command = FakeCommand(TEAM)
        self.use(CommandUsers(cast(KeysCommand, command), None, lambda: self.now))
        blob = issue(USER_KEY, b"chat", valid_before=2000)
        session = self.session(blob)
        self.assertEqual(self.name_of(session), "alice@laptop")
        self.assertEqual(command.asked, [Certificate.parse(blob)])
        self.assertRefused(issue(USER_KEY, b"ops"))
        self.factory.configure(self.factory.settings, self.users, cast(IRobot, self.robot), {})
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [])
        self.now = 2000.0
        self.factory.drop_unauthorized()
        session.pump()
        self.assertEqual(session.events, [GoodbyeReceived(Reason.KEY_WITHDRAWN, 0)])

    def test_file(self) -> None:
        """The program is not asked about a user whom the file authorizes."""
        command = FakeCommand("")
        file = AuthorizedUsers(self.paths[0], self.clock.seconds, lambda: self.now)
        self.use(CommandUsers(cast(KeysCommand, command), file, lambda: self.now))
        self.assertEqual(self.name_of(self.session(issue(USER_KEY, b"chat"))), "alice@laptop")
        self.assertEqual(command.asked, [])
