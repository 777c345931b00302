"""Which host has which key, in files that the real ssh-keygen reads and writes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import MAX_SIZE
from securechat.ssh import keys
from securechat.ssh.known_hosts import KnownHosts, Standing, parse_line
from tests.harness.pair import HOST_KEY
from tests.harness.ssh import ssh_keygen
from tests.test_files import with_file_size_limit

NAME = "[chat.example.org]:8080"
OTHER = keys.SigningKey.generate()
LINE = keys.public_line(HOST_KEY.blob)
PIECES = [b"\n", b"\0", b"\xff", b" ", b"\t", b"#", b"*", b"!", b",", b"|1|AA==|AA==", b"@revoked", LINE.encode()]


class KnownHostsTests(SynchronousTestCase):
    """A file of host keys."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "known_hosts"

    def load(self, *lines: str) -> KnownHosts:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text("\n".join(lines) + "\n")
        return KnownHosts.load(self.path)

    def standing(self, hosts: KnownHosts, name: str = NAME, blob: bytes = HOST_KEY.blob) -> tuple[Standing, int | None]:
        verdict = hosts.check(name, blob)
        return verdict.standing, verdict.line

    def test_nothing(self) -> None:
        """Without a file every host is unknown."""
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.UNKNOWN, None))

    def test_knownAndChanged(self) -> None:
        """A host is known by its line; with another key it has changed, and the line is named."""
        hosts = self.load("# mine", "", f"{NAME} {LINE} a comment")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 3))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.CHANGED, 3))
        self.assertEqual(self.standing(hosts, "[chat.example.org]:8081"), (Standing.UNKNOWN, None))

    def test_severalKeys(self) -> None:
        """A host may have several lines; any of their keys will do."""
        hosts = self.load(f"{NAME} {keys.public_line(OTHER.blob)}", f"{NAME} {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, blob=keys.SigningKey.generate().blob), (Standing.CHANGED, 1))

    def test_revoked(self) -> None:
        """A revoked key is refused, whatever else the file says of it; another key of that host is not."""
        hosts = self.load(f"{NAME} {LINE}", f"@revoked * {LINE}", f"{NAME} {keys.public_line(OTHER.blob)}")
        self.assertEqual(self.standing(hosts), (Standing.REVOKED, 2))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.KNOWN, 3))

    def test_patterns(self) -> None:
        """Wildcards and negation are OpenSSH's; brackets are no wildcard."""
        hosts = self.load(f"[*.example.org]:8080,![bad.example.org]:* {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts, "[bad.example.org]:8080"), (Standing.UNKNOWN, None))
        self.assertEqual(self.standing(hosts, "[example.com]:8080"), (Standing.UNKNOWN, None))
        self.assertEqual(self.standing(hosts, "c"), (Standing.UNKNOWN, None))

    def test_port22(self) -> None:
        """At SSH's own port the name stands without brackets, as ssh writes it."""
        hosts = self.load(f"chat.example.org {LINE}")
        self.assertEqual(self.standing(hosts, "[chat.example.org]:22"), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts), (Standing.UNKNOWN, None))

    def test_otherLines(self) -> None:
        """Other key types and certificate authorities say nothing of an Ed25519 host key."""
        hosts = self.load(f"{NAME} ssh-rsa AAAA", f"@cert-authority * {LINE}", f"{NAME} {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 3))

    def test_add(self) -> None:
        """A host that is added is known, to us and to ssh-keygen; what was there stays."""
        self.path.parent.mkdir()
        self.path.write_text(f"[old]:1 {keys.public_line(OTHER.blob)}")
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, "[old]:1", OTHER.blob), (Standing.KNOWN, 1))
        self.assertIn(LINE, ssh_keygen("-F", NAME, "-f", self.path))

    def test_addAtOnce(self) -> None:
        """Many clients that each learn a host at the same time, from what they read before, all keep it."""
        self.load(f"{NAME} {LINE}")
        self.path.write_text(self.path.read_text().rstrip("\n"))
        names = [f"[host{number}.example.org]:8080" for number in range(64)]
        clients = [KnownHosts.load(self.path) for _name in names]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda client, name: client.add(name, OTHER.blob), clients, names))
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 1))
        for name in names:
            self.assertIs(hosts.check(name, OTHER.blob).standing, Standing.KNOWN)

    def test_addBesideSsh(self) -> None:
        """A line that somebody else wrote since the file was read stays."""
        hosts = self.load(f"{NAME} {LINE}")
        with self.path.open("a") as file:
            file.write(f"[old]:1 {LINE}\n")
        hosts.add("[new]:1", OTHER.blob)
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts, "[old]:1"), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, "[new]:1", OTHER.blob), (Standing.KNOWN, 3))

    def test_noRoom(self) -> None:
        """When the new line cannot be written, the file is as it was."""
        self.load(f"{NAME} {LINE}")
        before = self.path.read_bytes()
        hosts = KnownHosts.load(self.path)
        self.assertRaises(
            ConfigurationError, with_file_size_limit, len(before) + 9, lambda: hosts.add("[x]:1", OTHER.blob)
        )
        self.assertEqual(self.path.read_bytes(), before)

    def test_addToNothing(self) -> None:
        """A new file and its directory are for their owner only."""
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))

    def test_hashed(self) -> None:
        """Names that ssh-keygen hashed are found."""
        self.load(f"{NAME} {LINE}")
        ssh_keygen("-H", "-f", self.path)
        self.assertNotIn("example", self.path.read_text())
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(KnownHosts.load(self.path), "[x]:1"), (Standing.UNKNOWN, None))

    def test_tabs(self) -> None:
        """Tabs separate as blanks do, for ssh and for us."""
        tabs = LINE.replace(" ", " \t")
        hosts = self.load(f"{NAME}\t{tabs}\tcomment", f"@revoked\t*\t{keys.public_line(OTHER.blob)}")
        self.assertIn("ssh-ed25519", ssh_keygen("-F", NAME, "-f", self.path))
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.REVOKED, 2))

    def test_textEndings(self) -> None:
        """Lines may end as on Windows, and the last one not at all."""
        self.path.parent.mkdir()
        self.path.write_bytes(f"# x\r\n[old]:1 {LINE}\r\n{NAME} {LINE}".encode())
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts, "[old]:1"), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 3))

    def test_unreadable(self) -> None:
        """A file that cannot be read is not taken for one that is not there: the host may be known."""
        self.path.parent.mkdir()
        loop, plain, huge = (self.path.parent / name for name in ("loop", "plain", "huge"))
        loop.symlink_to("loop")
        plain.write_text("")
        huge.write_bytes(b"#" * (MAX_SIZE + 1))
        for path in (self.path.parent, loop, plain / "below", self.path.parent / ("x" * 300), huge, Path("/dev/zero")):
            error = self.assertRaises(ConfigurationError, KnownHosts.load, path)
            self.assertTrue(str(error).startswith(f"{path}: "), error)

    def test_linkToNowhere(self) -> None:
        """Through a link whose target is not there yet, the file is empty, and the first host makes it."""
        self.path.parent.mkdir()
        self.path.symlink_to("target")
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))

    def test_badLines(self) -> None:
        """A line that cannot be read is named with its file: it may be the one that matters."""
        for bad in (
            NAME,
            f"{NAME} ssh-ed25519",
            f"{NAME} ssh-ed25519 nonsense",
            f"@unknown {NAME} {LINE}",
            f"|1|!|hash {LINE}",
            f"|1|AAAA {LINE}",
            f"@revoked {LINE}",
            f"{NAME}\u00a0{LINE}",
            f"{NAME} {LINE[:-1]}",
            "a\0b",
        ):
            error = self.assertRaises(ConfigurationError, self.load, "# first", bad)
            self.assertTrue(str(error).startswith(f"{self.path}:2: "), error)

    @given(
        st.text(max_size=200)
        | st.sampled_from(["|1|", "@revoked ", "a,b ", "ssh-ed25519 "]).flatmap(
            lambda start: st.text(max_size=60).map(lambda rest: start + rest)
        )
    )
    def test_anyLine(self, line: str) -> None:
        """Any line is an entry, nothing, or a ValueError; and an entry can be asked."""
        try:
            entry = parse_line(1, line)
        except ValueError:
            return
        if entry is not None:
            entry.matches(NAME)

    @given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join))
    def test_anyBytes(self, data: bytes) -> None:
        """Any file is known_hosts or a ConfigurationError of one line."""
        self.path.parent.mkdir(exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)
        try:
            KnownHosts.load(self.path).check(NAME, HOST_KEY.blob)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))
