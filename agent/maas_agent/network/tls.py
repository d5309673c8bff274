"""Speaks TLS as a client: whom to trust, who we are, and in words what goes wrong. For broker and repository alike."""

import ssl
from collections.abc import Callable

import msgspec

from maas_agent.errors import ConfigError
from maas_agent.host.secret_files import read_secret
from maas_agent.network.tls_files import look

# X509_V_ERR_... of OpenSSL
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_SELF_SIGNED, _NO_SIGNING_USE, _NOT_FOR_SERVERS = 18, 32, 26
_NO_CA = {24, 79}
_TOO_WEAK = {66, 67, 68}
_ENCRYPTED = "is encrypted, and nobody can type its passphrase here"

Naming = Callable[[str], str]
"""How the configuration or the command line calls a field of `Identity`: ``broker.ca`` or ``--ca``."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to trust (``ca``, else the system's authorities) and who we are: paths of PEM files."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_passphrase_file: str | None = None


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who is connected to, for a sentence about it; ``url_key`` and ``ca_key`` are keys of the configuration."""

    there: str
    """Host and port."""
    name: str
    """The name that its certificate must have."""
    ca: str | None
    ca_key: str
    url_key: str
    options: str = ""
    """More for ``openssl s_client``."""


class _PassphraseWantedError(Exception):
    """The key is encrypted, and there is no passphrase file."""


def client_context(identity: Identity, naming: Naming) -> ssl.SSLContext:
    """The context for connections; never asks on a terminal.

    Raises `ConfigError` with the file that cannot be used, what it is, and the line that makes what is needed of it.
    """
    context = _trusting(identity.ca, naming("ca"))
    if identity.certificate and identity.key:
        _introduce(context, identity, naming)
    return context


def _trusting(ca: str | None, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        trouble = look(ca, "certificate").trouble if ca else None
        raise ConfigError(f"{key}: {trouble or f'{ca} cannot be used: {_what(error)}'}") from None
    # Python 3.13 began to refuse chains that lack what RFC 5280 asks of them, such as the key usage of an authority:
    # many private authorities lack it. Who names one has chosen it; who signed, for whom, and until when is checked.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # And it began to take what is named as it is, an authority below another one too: so do we with every Python.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _introduce(context: ssl.SSLContext, identity: Identity, naming: Naming) -> None:
    certificate, key = str(identity.certificate), str(identity.key)
    passphrase = identity.key_passphrase_file
    secret = None if passphrase is None else read_secret(passphrase, naming("key_passphrase_file"))

    def tell() -> str:
        if secret is None:
            raise _PassphraseWantedError
        return secret

    try:
        context.load_cert_chain(certificate, key, tell)
    except _PassphraseWantedError:
        raise ConfigError(
            f"{naming('key')}: {key} {_ENCRYPTED}: put it into a file and name that in "
            f"{naming('key_passphrase_file')}, or decrypt the key: openssl pkey -in {key} -out {key}.plain"
        ) from None
    except (OSError, ValueError) as error:  # ssl.SSLError is one; ValueError: a passphrase of more than 1,024 bytes
        raise ConfigError(_unusable(certificate, key, passphrase, error, naming)) from None


def _unusable(certificate: str, key: str, passphrase: str | None, error: Exception, naming: Naming) -> str:
    if trouble := look(certificate, "certificate").trouble:
        return f"{naming('certificate')}: {trouble}"
    found = look(key, "key")
    if found.trouble:
        return f"{naming('key')}: {found.trouble}"
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return (
            f"{naming('key')}: {key} is not the key of the certificate {certificate}: both must show the same public "
            f"key: openssl x509 -noout -pubkey -in {certificate}; openssl pkey -pubout -in {key}"
        )
    if found.kind == "encrypted key":
        return f"{naming('key_passphrase_file')}: what is in {passphrase} does not open {key}: {_what(error)}"
    return f"{naming('certificate')} {certificate} or {naming('key')} {key} is damaged: {_what(error)}"


def _what(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(getattr(error, "strerror", None) or error)


def distrusted(error: ssl.SSLCertVerificationError, peer: Peer) -> tuple[str, str]:
    """Why the peer's certificate is not one to trust, and what to type or change."""
    code = error.verify_code
    show = f"openssl s_client -connect {peer.there}{peer.options} </dev/null | openssl x509 -noout"
    whose = f"the certificate of {peer.there}"
    if code == _EXPIRED:
        return f"{whose} has expired", f"renew it on the server, or is this device's clock wrong? {show} -dates; date"
    if code == _NOT_YET_VALID:
        return f"{whose} is not valid yet by this device's clock", f"timedatectl set-ntp true; {show} -dates; date"
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        mend = f"write a name that is in it into {peer.url_key}: {show} -ext subjectAltName"
        return f"{whose} is for another host name than {peer.name!r}", mend
    if code == _NOT_FOR_SERVERS:
        return f"{whose} is not one for servers (extended key usage)", f"make another: {show} -ext extendedKeyUsage"
    if code in _TOO_WEAK:
        return f"{whose} is too weak: {error.verify_message}", "make another, of RSA 2048 or EC P-256, with SHA-256"
    if code in _NO_CA or code == _NO_SIGNING_USE:
        lacks = "basicConstraints CA:TRUE, or keyCertSign in its key usage"
        mend = f"make the authority's certificate anew with both: openssl x509 -in {peer.ca or 'CA.pem'} -noout -text"
        return f"{whose} is signed by what is no authority, for want of {lacks}: {error.verify_message}", mend
    whom = f"{peer.ca_key} ({peer.ca})" if peer.ca else "this system's authorities"
    mend = f"set {peer.ca_key} to the certificate of the authority that signed it: {show} -issuer"
    if not peer.ca and not _has_authorities():
        return f"{whose} cannot be checked: this system has no authorities", "sudo apt install ca-certificates"
    if code == _SELF_SIGNED:
        mend = f"it signed itself: if you know it, set {peer.ca_key} to it: {show} -subject -fingerprint -sha256"
    return f"{whose} is not signed by {whom}: {error.verify_message}", mend


def _has_authorities() -> bool:
    """Whether the system has a file or a folder of them, where OpenSSL looks."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)
