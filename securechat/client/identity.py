"""The user's key: in a file, or in ssh-agent."""

from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.internet.defer import Deferred

from securechat.client.protocol import Signer
from securechat.client.reactor import IClientReactor
from securechat.client.ssh_agent import agent_keys, agent_sign
from securechat.errors import AuthenticationError, Category, ConfigurationError
from securechat.files import read_lines
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.private_keys import load_private_key


def file_signer(path: Path, ask_passphrase: Callable[[Path], bytes]) -> Signer:
    """A signer with the private key in a file; ConfigurationError."""
    key = load_private_key(path, lambda: ask_passphrase(path))
    return Signer(key.blob, key.sign)


async def agent_signer(reactor: IClientReactor, environ: Mapping[str, str], path: Path | None) -> Signer:
    """A signer with the agent's first key, or with the one whose public key is in a file; ConfigurationError."""
    held = await agent_keys(reactor, environ)
    if path is None:
        if not held:
            raise ConfigurationError(_("the agent has no Ed25519 identities; add one with: ssh-add FILE"))
        blob = held[0]
    else:
        blob = public_key(path)
        if blob not in held:
            raise ConfigurationError(
                _("{path}: the agent does not have this identity; add it with ssh-add").format(path=path)
            )

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
