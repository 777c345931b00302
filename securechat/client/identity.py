"""The user's keys, and certificates for them: in a file, or in ssh-agent."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from securechat.client.reactor import IClientReactor
from securechat.client.signer import NoSignatureError, Signer
from securechat.client.ssh_agent import NoAgentError, agent_keys, agent_sign
from securechat.client.stderr import note
from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.files import read_lines
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.certificates import CERTIFICATE_TYPE, is_certificate, key_of, parse_certificate_line
from securechat.ssh.keys import SigningKey
from securechat.ssh.private_keys import PublicKeyError, WrongPassphraseError, load_private_key
from securechat.wire.certificates import excess

PASSPHRASE_ATTEMPTS: Final = 3  # the default of ssh's NumberOfPasswordPrompts
MAX_OFFERED: Final = 6  # keys of an agent, each in a connection of its own; the default of sshd's MaxAuthTries


async def file_signers(
    reactor: IClientReactor, environ: Mapping[str, str], path: Path, ask_passphrase: Callable[[Path], bytes]
) -> list[Signer]:
    """Signers with the private key in a file, or with the agent's if the file has a public key; ConfigurationError.

    If there is a certificate for the key beside it, the first signer has the certificate.
    """
    try:
        key = _load(path, ask_passphrase)
    except PublicKeyError:
        try:
            return await agent_signers(reactor, environ, path)
        except ConfigurationError:  # there is no agent, or it does not have this key
            text = _("{path}: this is a public key; use the private key, or add it to the agent with ssh-add")
            raise ConfigurationError(text.format(path=path)) from None

    def read_certificate() -> list[bytes]:
        return _certificate_beside(path, key.blob)

    certified = [Signer(blob, key.sign, read_certificate) for blob in read_certificate()]
    return [*certified, Signer(key.blob, key.sign)]


def _certificate_beside(path: Path, key: bytes) -> list[bytes]:
    """The certificate for a key in ``KEY-cert.pub``, if there is one. The user is told of one that cannot be used."""
    beside = path.with_name(path.name.removesuffix(".pub") + "-cert.pub")
    if not beside.exists():
        return []
    try:
        blob = public_key_in(beside)
        if not is_certificate(blob) or key_of(blob) != key:
            raise ConfigurationError(_("{path}: not a certificate for this key").format(path=beside))
    except ConfigurationError as error:
        note(_("ignoring the certificate: {problem}").format(problem=error))
        return []
    return [blob]


def _load(path: Path, ask_passphrase: Callable[[Path], bytes]) -> SigningKey:
    for _attempt in range(PASSPHRASE_ATTEMPTS - 1):
        with suppress(WrongPassphraseError):
            return load_private_key(path, lambda: ask_passphrase(path))
    return load_private_key(path, lambda: ask_passphrase(path))


async def agent_signers(reactor: IClientReactor, environ: Mapping[str, str], path: Path | None) -> list[Signer]:
    """Signers with the agent's first keys, or with the one whose public key is in a file; ConfigurationError."""
    held = list(dict.fromkeys(await agent_keys(reactor, environ)))
    if path is None:
        if not held:
            raise ConfigurationError(_("the agent has no Ed25519 identities; add one with: ssh-add FILE"))
        if len(held) > MAX_OFFERED:
            note(
                _("the agent has {count} Ed25519 identities, offering {limit}; choose another with -i FILE.pub").format(
                    count=len(held), limit=MAX_OFFERED
                )
            )
        return [_agent_signer(reactor, environ, blob) for blob in held[:MAX_OFFERED]]
    chosen = _chosen(path, held)
    if not chosen:
        raise ConfigurationError(
            _("{path}: the agent does not have this identity; add it with ssh-add").format(path=path)
        )
    return [_agent_signer(reactor, environ, *pair) for pair in chosen]


def _chosen(path: Path, held: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The identities to offer for a file with a public key, each with the identity of the agent that signs for it."""
    public = public_key(path)
    key = key_of(public)
    same = sorted((blob for blob in held if key_of(blob) == key), key=is_certificate)  # the key itself first
    if is_certificate(public):
        offered = [public]
    else:
        certificates = [*_certificate_beside(path, key), *filter(is_certificate, same)]
        offered = [*dict.fromkeys(certificates), *([key] if key in same else [])]
    return [(blob, blob if blob in same else same[0]) for blob in offered if same]


def _agent_signer(
    reactor: IClientReactor, environ: Mapping[str, str], blob: bytes, signing: bytes | None = None
) -> Signer:
    """`signing` is the agent's identity with the same key, if that is not `blob`."""

    async def sign(data: bytes) -> bytes:
        try:
            return await agent_sign(reactor, environ, signing or blob, data)
        except NoAgentError as error:
            raise NoSignatureError(Category.USER_KEY, str(error)) from None
        except ConfigurationError as error:  # for the user, signing is authentication, not configuration
            raise AuthenticationError(Category.USER_KEY, str(error)) from None

    return Signer(blob, lambda data: Deferred.fromCoroutine(sign(data)))


def public_key(path: Path) -> bytes:
    """The public key or the certificate in ``FILE.pub``, or in FILE itself; ConfigurationError."""
    beside = path.with_name(path.name + ".pub")
    return public_key_in(beside if beside.exists() else path)


def public_key_in(path: Path) -> bytes:
    """The public key or the certificate in a file; ConfigurationError."""
    for _number, line in read_lines(path):
        if line and not line.startswith("#"):
            if line.startswith(CERTIFICATE_TYPE.decode()):
                return _certificate_in(path, line)
            try:
                return keys.parse_public_line(line)[0]
            except ValueError:
                break
    raise ConfigurationError(
        _("{path}: not an Ed25519 public key; with --agent, -i takes the public key to use (FILE.pub)").format(
            path=path
        )
    )


def _certificate_in(path: Path, line: str) -> bytes:
    try:
        return parse_certificate_line(line)[0]
    except ValueError as error:
        raise ConfigurationError(_("{path}: {problem}").format(path=path, problem=error)) from None


def renewed(signer: Signer, name: str) -> Signer:
    """The signer with the certificate that is in its file now, unless that does not fit into the record for it.

    In that case, the user is told. `name` is the server's.
    """
    return usable([signer.renewed(), signer], name)[0]


def usable(signers: list[Signer], name: str) -> list[Signer]:
    """Those whose certificate fits into the record for it; ConfigurationError if there are none.

    The user is told of others. `name` is the server's.
    """
    found = []
    for signer in signers:
        size = excess(signer.blob, name)
        if size <= 0:
            found.append(signer)
            continue
        text = _(
            "the certificate for {fingerprint} is {size} bytes too long to be used; sign one with a shorter key ID, "
            "with fewer principals, or with -O clear"
        )
        problem = text.format(fingerprint=signer.fingerprint, size=size)
        if len(signers) == 1:
            raise ConfigurationError(problem)
        note(problem)
    return found
