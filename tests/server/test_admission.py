"""Who may connect, and how often."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.server.admission import MAX_SOURCES, Admission, source_of
from securechat.server.settings import ServerSettings


class SourceTests(SynchronousTestCase):
    """What counts as one source."""

    def test_sources(self) -> None:
        """An IPv4 address is one; an IPv6 /64 is one; an IPv4 address in IPv6's clothes is the IPv4 one."""
        self.assertEqual(source_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(source_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(source_of("2001:db8:0:1:2::3"), "2001:db8:0:1::/64")
        self.assertEqual(source_of("fe80::1%eth0"), "fe80::/64")
        self.assertEqual(source_of("a name"), "a name")


class AdmissionTests(SynchronousTestCase):
    """The limits of section 13."""

    def enter_many(self, admission: Admission, sources: list[str]) -> list[bool]:
        return [admission.enter(source, 0.0) for source in sources]

    def test_sessions(self) -> None:
        """So many sessions at once; one that ends makes room."""
        admission = Admission(ServerSettings(max_sessions=2))
        self.assertEqual(self.enter_many(admission, ["a", "b", "c"]), [True, True, False])
        admission.handshake_done()
        admission.leave("a")
        self.assertTrue(admission.enter("c", 0.0))

    def test_sessionsOfOneSource(self) -> None:
        """So many sessions of one source, whatever the others have."""
        admission = Admission(ServerSettings(max_sessions_per_source=1))
        self.assertEqual(self.enter_many(admission, ["a", "a", "b"]), [True, False, True])
        admission.leave("a")
        self.assertTrue(admission.enter("a", 0.0))

    def test_handshakes(self) -> None:
        """So many unfinished handshakes at once."""
        admission = Admission(ServerSettings(max_handshakes=1))
        self.assertEqual(self.enter_many(admission, ["a", "b"]), [True, False])
        admission.handshake_done()
        self.assertTrue(admission.enter("b", 0.0))

    def test_rate(self) -> None:
        """So many handshakes of one source at once, and so many a second after that."""
        admission = Admission(ServerSettings(handshake_burst=2, handshake_rate=1.0))
        self.assertEqual(self.enter_many(admission, ["a", "a", "a", "b"]), [True, True, False, True])
        self.assertTrue(admission.enter("a", 1.0))
        self.assertFalse(admission.enter("a", 1.0))

    def test_memory(self) -> None:
        """The rates of so many sources are remembered, those that came last."""
        admission = Admission(ServerSettings(max_sessions=10**6, max_handshakes=10**6, handshake_burst=1))
        for number in range(MAX_SOURCES):
            admission.enter(str(number), 0.0)
        self.assertFalse(admission.enter("0", 0.0))
        admission.enter("one more", 0.0)
        self.assertFalse(admission.enter("0", 0.0))
        self.assertTrue(admission.enter("1", 0.0))
