"""known_hosts files, compared with the real ssh-keygen."""

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import ConfigurationError
from securechat.files import MAX_LIST_SIZE
from securechat.ssh import keys
from securechat.ssh.encoding import string
from securechat.ssh.known_hosts import KnownHosts, Standing, is_out_of_reach, parse_line
from tests.harness.pair import HOST_KEY, USER_KEY
from tests.harness.ssh import ssh_keygen
from tests.test_files import with_file_size_limit

NAME = "[chat.example.org]:8080"
OTHER = keys.SigningKey.generate()
LINE = keys.public_line(HOST_KEY.blob)
RSA_LINE = f"ssh-rsa {b64encode(string(b'ssh-rsa') + string(b'e') + string(b'n')).decode()}"
PIECES = [b"\n", b"\0", b"\xff", b" ", b"\t", b"#", b"*", b"!", b",", b"|1|AA==|AA==", b"@revoked", LINE.encode()]


class KnownHostsTests(SynchronousTestCase):
    """Lookups in a known_hosts file, and new entries."""

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
        """Without a file, every host is unknown."""
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.UNKNOWN, None))

    def test_knownAndChanged(self) -> None:
        """A host with its key is known, with another key it has changed; the line number is that of its entry."""
        hosts = self.load("# mine", "", f"{NAME} {LINE} a comment")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 3))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.CHANGED, 3))
        self.assertEqual(self.standing(hosts, "[chat.example.org]:8081"), (Standing.UNKNOWN, None))

    def test_severalKeys(self) -> None:
        """If a host has several entries, each of their keys is accepted."""
        hosts = self.load(f"{NAME} {keys.public_line(OTHER.blob)}", f"{NAME} {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, blob=keys.SigningKey.generate().blob), (Standing.CHANGED, 1))

    def test_revoked(self) -> None:
        """@revoked takes precedence over other entries with the same key; other keys of the host are still known."""
        hosts = self.load(f"{NAME} {LINE}", f"@revoked * {LINE}", f"{NAME} {keys.public_line(OTHER.blob)}")
        self.assertEqual(self.standing(hosts), (Standing.REVOKED, 2))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.KNOWN, 3))

    def test_patterns(self) -> None:
        """Wildcards and negation work as in OpenSSH; brackets are literal."""
        hosts = self.load(f"[*.example.org]:8080,![bad.example.org]:* {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts, "[bad.example.org]:8080"), (Standing.UNKNOWN, None))
        self.assertEqual(self.standing(hosts, "[example.com]:8080"), (Standing.UNKNOWN, None))
        self.assertEqual(self.standing(hosts, "c"), (Standing.UNKNOWN, None))

    def test_zones(self) -> None:
        """An entry with a zone is for a host in that zone only, also if it is hashed; one without is for all zones."""
        name = "[fe80::1%eth0]:8080"
        for entry in (name, "[fe80::1%ETH?]:8080", "[fe80::1]:8080"):
            for hashed in (False, True):
                self.load(f"{entry} {LINE}")
                if hashed and "?" not in entry:
                    ssh_keygen("-H", "-f", self.path)
                hosts = KnownHosts.load(self.path)
                self.assertEqual(self.standing(hosts, name), (Standing.KNOWN, 1))
                standing = Standing.UNKNOWN if "%" in entry else Standing.KNOWN
                self.assertIs(hosts.check("[fe80::1%lo]:8080", HOST_KEY.blob).standing, standing)
                self.assertIs(hosts.check("[fe80::1]:8080", HOST_KEY.blob).standing, standing)

    def test_patternsWithPort(self) -> None:
        """A pattern for port 22 does not match other ports."""
        for pattern in ("[*]:22", "*:22", "[*.example.org]:22", "[chat.example.or?]:22"):
            self.assertEqual(self.standing(self.load(f"{pattern} {LINE}")), (Standing.UNKNOWN, None))

    def test_port22(self) -> None:
        """At port 22 the name has no brackets and no port, as in OpenSSH."""
        hosts = self.load(f"chat.example.org {LINE}")
        self.assertEqual(self.standing(hosts, "[chat.example.org]:22"), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts), (Standing.UNKNOWN, None))

    def test_addresses(self) -> None:
        """An address is found in each of its forms, with any zone, in any case; it is saved in OpenSSH's form."""
        for name, *forms in (
            ("[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", "[0000::0001]:8080", "[::1]:08080"),
            ("[2001:db8::a]:8080", "[2001:DB8::A]:8080", "[2001:db8:0::a]:8080"),
            ("[fe80::1%eth0]:8080", "[fe80::1%eth0]:8080", "[FE80:0::1%Eth0]:8080", "[fe80::1]:8080"),
            ("[192.0.2.1]:8080", "[::ffff:192.0.2.1]:8080", "[::FFFF:c000:201]:8080", "192.0.2.1:8080"),
            ("[::1]:22", "0:0:0:0:0:0:0:1", "[::1]:22", "[::1]"),
            ("[chat.example.org]:22", "Chat.Example.org.", "[chat.example.org]:22"),
            ("[chat.example.org]:8080", "[chat.EXAMPLE.org.]:8080", "chat.example.org:8080"),
        ):
            for form in (name, *forms):
                hosts = self.load(f"other,{form} {LINE}", f"@revoked {form} {keys.public_line(OTHER.blob)}")
                self.assertEqual(self.standing(hosts, name), (Standing.KNOWN, 1), form)
                self.assertEqual(self.standing(hosts, name, OTHER.blob), (Standing.REVOKED, 2), form)
                hosts = self.load(f"*,!{form} {LINE}")
                self.assertEqual(self.standing(hosts, name), (Standing.UNKNOWN, None), form)
        for name, saved in (("[::1]:8080", "[::1]:8080"), ("[::1]:22", "::1"), ("[fe80::1%eth0]:1",) * 2):
            hosts = self.load()
            hosts.add(name, HOST_KEY.blob)
            self.assertEqual(self.path.read_text().split(), [saved, *LINE.split()])
            self.assertIn(LINE, ssh_keygen("-F", saved, "-f", self.path))

    def test_otherLines(self) -> None:
        """Entries for other key types and @cert-authority lines are ignored."""
        hosts = self.load(f"{NAME} {RSA_LINE} x", f"{NAME} 1024 35 1476", f"@cert-authority * {LINE}", f"{NAME} {LINE}")
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 4))

    def test_add(self) -> None:
        """ssh-keygen finds a host that was added; existing entries are kept."""
        self.path.parent.mkdir()
        self.path.write_text(f"[old]:1 {keys.public_line(OTHER.blob)}")
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, "[old]:1", OTHER.blob), (Standing.KNOWN, 1))
        self.assertIn(LINE, ssh_keygen("-F", NAME, "-f", self.path))

    def test_addBeside(self) -> None:
        """Another key of a host is added under the same hash if its name is hashed, otherwise in the clear."""
        hosts = self.load(f"{NAME} {LINE}", f"[old]:1 {LINE}")
        self.assertEqual(hosts.keys_of(NAME), [HOST_KEY.blob])
        hosts.add(NAME, OTHER.blob, beside=HOST_KEY.blob)
        self.assertIn(f"{NAME} {keys.public_line(OTHER.blob)}\n", self.path.read_text())
        self.load(f"*.example.org,{NAME} {LINE}", f"@revoked * {keys.public_line(USER_KEY.blob)}")
        KnownHosts.load(self.path).add(NAME, OTHER.blob, beside=HOST_KEY.blob)
        self.assertTrue(self.path.read_text().endswith(f"\n{NAME} {keys.public_line(OTHER.blob)}\n"))
        self.assertEqual(KnownHosts.load(self.path).keys_of(NAME), [HOST_KEY.blob, OTHER.blob])

    def test_addBesideHashed(self) -> None:
        """Clients that add a key to a hashed host at the same time add one line, without its name."""
        self.load(f"[old]:1 {LINE}", f"{NAME} {LINE}")
        ssh_keygen("-H", "-f", self.path)
        self.path.chmod(0o600)
        clients = [KnownHosts.load(self.path) for _number in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda client: client.add(NAME, OTHER.blob, beside=HOST_KEY.blob), clients))
        text = self.path.read_text()
        self.assertEqual(len(text.splitlines()), 3)
        self.assertNotIn("example", text)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, NAME, OTHER.blob), (Standing.KNOWN, 3))
        self.assertIs(hosts.check("[old]:1", OTHER.blob).standing, Standing.CHANGED)
        self.assertIn(keys.public_line(OTHER.blob), ssh_keygen("-F", NAME, "-f", self.path))

    def test_addAtOnce(self) -> None:
        """Hosts added by many clients at the same time are all kept."""
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
        """A line that another program appended after the file was read is kept."""
        hosts = self.load(f"{NAME} {LINE}")
        with self.path.open("a") as file:
            file.write(f"[old]:1 {LINE}\n")
        hosts.add("[new]:1", OTHER.blob)
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts, "[old]:1"), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts, "[new]:1", OTHER.blob), (Standing.KNOWN, 3))

    def test_diskFull(self) -> None:
        """If the disk is full, the file is unchanged."""
        self.load(f"{NAME} {LINE}")
        before = self.path.read_bytes()
        hosts = KnownHosts.load(self.path)
        self.assertRaises(
            ConfigurationError, with_file_size_limit, len(before) + 9, lambda: hosts.add("[x]:1", OTHER.blob)
        )
        self.assertEqual(self.path.read_bytes(), before)

    def test_addToNewFile(self) -> None:
        """A new file has mode 0600, and its directory mode 0700."""
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))

    def test_hashed(self) -> None:
        """Host names hashed by ssh-keygen are found."""
        self.load(f"{NAME} {LINE}")
        ssh_keygen("-H", "-f", self.path)
        self.assertNotIn("example", self.path.read_text())
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(KnownHosts.load(self.path), "[x]:1"), (Standing.UNKNOWN, None))

    def test_tabs(self) -> None:
        """Fields may be separated by tabs."""
        tabs = LINE.replace(" ", " \t")
        hosts = self.load(f"{NAME}\t{tabs}\tcomment", f"@revoked\t*\t{keys.public_line(OTHER.blob)}")
        self.assertIn("ssh-ed25519", ssh_keygen("-F", NAME, "-f", self.path))
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 1))
        self.assertEqual(self.standing(hosts, blob=OTHER.blob), (Standing.REVOKED, 2))

    def test_byteOrderMark(self) -> None:
        """A byte order mark does not hide the first line, be it an entry or revoke a key."""
        self.path.parent.mkdir()
        for line, standing in ((f"{NAME} {LINE}", Standing.KNOWN), (f"@revoked * {LINE}", Standing.REVOKED)):
            self.path.write_bytes(b"\xef\xbb\xbf" + f"{line}\n".encode())
            self.assertEqual(self.standing(KnownHosts.load(self.path)), (standing, 1))

    def test_otherCharacters(self) -> None:
        """A character that may be invisible or look like a space is an error that names it, except in a comment."""
        for odd in ("\u00a0", "\u3000", "\u2009", "\u200b", "\ufeff", "\u00ad"):
            for bad in (
                f"{NAME}{odd}{LINE} x",
                f"{NAME} {odd}{LINE} x",
                f"{NAME} {LINE.replace(' ', odd)} x",
                f"{NAME} {LINE}{odd}x",
                f"@revoked{odd}{NAME} {LINE} x",
                f"@revoked {NAME}{odd}{LINE} x",
                f"chat{odd}.example.org {LINE}",
            ):
                error = self.assertRaises(ConfigurationError, self.load, "# first", bad)
                self.assertIn(f":2: unexpected character U+{ord(odd):04X}; correct or remove", str(error))
            self.assertEqual(self.standing(self.load(f"{NAME} {LINE} a{odd}b")), (Standing.KNOWN, 1))

    def test_many(self) -> None:
        """A file with 10,000 hosts is accepted."""
        others = [f"[host{number}.example.org]:8080 {LINE} with a long comment of the user" for number in range(10_000)]
        self.assertEqual(self.standing(self.load(*others, f"{NAME} {LINE}")), (Standing.KNOWN, 10_001))

    def test_textEndings(self) -> None:
        """Lines may end in CR LF, and the last line needs no end."""
        self.path.parent.mkdir()
        self.path.write_bytes(f"# x\r\n[old]:1 {LINE}\r\n{NAME} {LINE}".encode())
        hosts = KnownHosts.load(self.path)
        self.assertEqual(self.standing(hosts, "[old]:1"), (Standing.KNOWN, 2))
        self.assertEqual(self.standing(hosts), (Standing.KNOWN, 3))

    def test_unreadable(self) -> None:
        """A file that cannot be read is an error, not an empty file."""
        self.path.parent.mkdir()
        loop, plain, huge = (self.path.parent / name for name in ("loop", "plain", "huge"))
        loop.symlink_to("loop")
        plain.write_text("")
        huge.write_bytes(b"#" * (MAX_LIST_SIZE + 1))
        for path in (self.path.parent, loop, plain / "below", self.path.parent / ("x" * 300), huge, Path("/dev/zero")):
            error = self.assertRaises(ConfigurationError, KnownHosts.load, path)
            self.assertTrue(str(error).startswith(f"{path}: "), error)

    def test_danglingLink(self) -> None:
        """A dangling symbolic link is an empty file, and the first host creates its target."""
        self.path.parent.mkdir()
        self.path.symlink_to("target")
        KnownHosts.load(self.path).add(NAME, HOST_KEY.blob)
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(self.standing(KnownHosts.load(self.path)), (Standing.KNOWN, 1))

    def test_badLines(self) -> None:
        """An invalid line is an error with the path and the line number."""
        for bad in (
            NAME,
            f"{NAME} ssh-ed25519",
            f"{NAME} ssh-ed25519 nonsense",
            f"@unknown {NAME} {LINE}",
            f"|1|!|hash {LINE}",
            f"|1|AAAA {LINE}",
            f"@revoked {LINE}",
            f"@revoked {LINE} comment",
            f"{NAME} {LINE.replace('ssh-ed25519 ', 'ssh-ed25519')} comment",
            f"{NAME} {LINE.replace('ssh-ed25519', 'ssh-ed25591')}",
            f"{NAME} ssh-rsa AAAA",
            f"# comment\r{NAME} {LINE}",
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
        """Any line is an entry, ignored, or a ValueError."""
        try:
            entry = parse_line(1, line)
        except ValueError:
            return
        if entry is not None:
            entry.matches(NAME)

    @given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join))
    def test_anyBytes(self, data: bytes) -> None:
        """Any content is valid or a ConfigurationError with a message of one line."""
        self.path.parent.mkdir(exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)
        try:
            KnownHosts.load(self.path).check(NAME, HOST_KEY.blob)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))


class ReachTests(SynchronousTestCase):
    """Whether the directory of a file can be searched."""

    def test_reach(self) -> None:
        """A file that exists or could be made is within reach; one below a file is not."""
        path = Path(self.mktemp())
        self.assertFalse(is_out_of_reach(path))
        path.touch()
        self.assertFalse(is_out_of_reach(path))
        self.assertTrue(is_out_of_reach(path / "known_hosts"))
