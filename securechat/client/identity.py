"""The user's keys: in a file, or in ssh-agent."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from securechat.client.reactor import IClientReactor
from securechat.client.signer import Signer
from securechat.client.ssh_agent import agent_keys, agent_sign
from securechat.client.stderr import note
from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.files import read_lines
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.keys import SigningKey
from securechat.ssh.private_keys import PublicKeyError, WrongPassphraseError, load_private_key

PASSPHRASE_ATTEMPTS: Final = 3  # the default of ssh's NumberOfPasswordPrompts
MAX_OFFERED: Final = 6  # keys of an agent, each in a connection of its own; the default of sshd's MaxAuthTries


async def file_signers(
    reactor: IClientReactor, environ: Mapping[str, str], path: Path, ask_passphrase: Callable[[Path], bytes]
) -> list[Signer]:
    """A signer with the private key in a file, or with the agent's if the file has a public key; ConfigurationError."""
    try:
        key = _load(path, ask_passphrase)
    except PublicKeyError:
        try:
            return await agent_signers(reactor, environ, path)
        except ConfigurationError:  # there is no agent, or it does not have this key
            text = _("{path}: this is a public key; use the private key, or add it to the agent with ssh-add")
            raise ConfigurationError(text.format(path=path)) from None
    return [Signer(key.blob, key.sign)]


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
    blob = public_key(path)
    if blob not in held:
        raise ConfigurationError(
            _("{path}: the agent does not have this identity; add it with ssh-add").format(path=path)
        )
    return [_agent_signer(reactor, environ, blob)]


def _agent_signer(reactor: IClientReactor, environ: Mapping[str, str], blob: bytes) -> Signer:
    async def sign(data: bytes) -> bytes:
        try:
            return await agent_sign(reactor, environ, blob, data)
        except ConfigurationError as error:  # for the user, signing is authentication, not configuration
            raise AuthenticationError(Category.USER_KEY, str(error)) from None

    return Signer(blob, lambda data: Deferred.fromCoroutine(sign(data)))


def public_key(path: Path) -> bytes:
    """The public key in ``FILE.pub``, or in FILE itself; ConfigurationError."""
    beside = path.with_name(path.name + ".pub")
    public = beside if beside.exists() else path
    for _number, line in read_lines(public):
        if line and not line.startswith("#"):
            try:
                return keys.parse_public_line(line)[0]
            except ValueError:
                break
    raise ConfigurationError(
        _("{path}: not an Ed25519 public key; with --agent, -i takes the public key to use (FILE.pub)").format(
            path=public
        )
    )
