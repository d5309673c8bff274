"""Whom TLS trusts and as whom it speaks: files as people have them, and real handshakes on the loopback."""

import contextlib
import datetime
import ipaddress
import os
import pty
import re
import socket
import ssl
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from maas_agent.config import BrokerSettings
from maas_agent.errors import ConfigError
from maas_agent.hub.mqtt import reasons
from maas_agent.hub.mqtt.transport.endpoint import endpoint, open_transport, tls_context
from tests.system.certificates import Authority, Signed

SECRET = b"pass phrase"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def own(authority: Authority) -> Signed:
    return authority.sign("gate-1")


def broker(**keys: object) -> BrokerSettings:
    named = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    return BrokerSettings(**({"url": "mqtts://127.0.0.1"} | named))  # type: ignore[arg-type]


def refusal(**files: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        tls_context(broker(**files))
    return str(refused.value)


# ------------------------------------------------------------- files


def key_of(own: Signed) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(own.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate_of(own: Signed) -> x509.Certificate:
    return x509.load_pem_x509_certificate(own.certificate.read_bytes())


CERTIFICATES: dict[str, Callable[[Signed], bytes]] = {
    "a certificate in DER": lambda own: certificate_of(own).public_bytes(Encoding.DER),
    "a PKCS#12 file": lambda own: pkcs12.serialize_key_and_certificates(
        b"x", key_of(own), certificate_of(own), None, NoEncryption()
    ),
    "a PKCS#7 file": lambda own: pkcs7.serialize_certificates([certificate_of(own)], Encoding.PEM),
    "a PKCS#7 file in DER": lambda own: pkcs7.serialize_certificates([certificate_of(own)], Encoding.DER),
    "text in UTF-16": lambda own: own.certificate.read_text().encode("utf-16"),
}
KEYS: dict[str, Callable[[Signed], bytes]] = {
    "a private key in DER": lambda own: key_of(own).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "a private key in DER (SEC 1)": lambda own: key_of(own).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
    "an encrypted private key in DER": lambda own: key_of(own).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET)
    ),
    "a PKCS#12 file": CERTIFICATES["a PKCS#12 file"],
    "a key of OpenSSH": lambda own: key_of(own).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
}


def convert(told: str) -> None:
    """Type the line that the message ends with; passphrases are asked for there."""
    line = told.partition("TLS takes PEM: ")[2]
    line = line.replace("openssl pkcs12", "openssl pkcs12 -passin pass:")
    line = line.replace("openssl pkcs8", f"openssl pkcs8 -passin 'pass:{SECRET.decode()}'")
    subprocess.run(line, shell=True, check=True, capture_output=True)


@pytest.mark.parametrize("what", CERTIFICATES)
@pytest.mark.parametrize("where", ["certificate", "ca"])
def test_a_certificate_that_is_no_pem_is_named_and_what_is_to_be_typed_mends_it(
    own: Signed, tmp_path: Path, what: str, where: str
) -> None:
    path = tmp_path / "given"
    path.write_bytes(CERTIFICATES[what](own))
    files = {"certificate": path, "key": own.key} if where == "certificate" else {"ca": path}
    told = refusal(**files)
    assert told.startswith(f"broker.{where}: {path} holds {what}, TLS takes PEM: ")
    convert(told)
    files[where] = path.with_name("given.pem")
    assert tls_context(broker(**files)) is not None


@pytest.mark.parametrize("what", KEYS)
def test_a_key_that_is_no_pem_is_named_and_what_is_to_be_typed_mends_it(own: Signed, tmp_path: Path, what: str) -> None:
    path = tmp_path / "given"
    path.write_bytes(KEYS[what](own))
    told = refusal(certificate=own.certificate, key=path)
    assert told.startswith(f"broker.key: {path} holds {what.partition(' (')[0]}, TLS takes PEM: ")
    if what == "a key of OpenSSH" and subprocess.run(["which", "ssh-keygen"], capture_output=True).returncode:
        return
    convert(told)
    assert tls_context(broker(certificate=own.certificate, key=path.with_name("given.pem"))) is not None


@pytest.mark.parametrize("where", ["ca", "certificate", "key"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ": there is no such file"),
        (b" \n", " is empty: copy the "),
        ("folder", " is a folder: name a file"),
        (b"no certificate", " holds no "),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", " holds a public key, no "),
    ],
    ids=["missing", "empty", "folder", "garbage", "other"],
)
def test_a_file_that_cannot_be_used_is_named(
    own: Signed, tmp_path: Path, where: str, content: bytes | str | None, told: str
) -> None:
    path = tmp_path / "given"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    files = {"ca": path} if where == "ca" else {"certificate": own.certificate, "key": own.key} | {where: path}
    assert refusal(**files).startswith(f"broker.{where}: {path}{told}")


def test_a_byte_order_mark_is_no_part_of_a_file(own: Signed, authority: Authority) -> None:
    for path in (own.certificate, own.key, authority.certificate):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert tls_context(broker(ca=authority.certificate, certificate=own.certificate, key=own.key)) is not None


def test_files_that_do_not_belong_together_are_named(own: Signed, authority: Authority, tmp_path: Path) -> None:
    other = authority.sign("gate-2")
    assert f"broker.key: {other.key} is not the key of the certificate {own.certificate}" in refusal(
        certificate=own.certificate, key=other.key
    )
    swapped = refusal(certificate=own.key, key=own.certificate)
    assert swapped.startswith(f"broker.certificate: {own.key} holds a key, no certificate: name the file")
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key_of(own), hashes.SHA256())
    (tmp_path / "gate.csr").write_bytes(request.public_bytes(Encoding.PEM))
    assert "holds a request for a certificate" in refusal(certificate=tmp_path / "gate.csr", key=own.key)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_a_file_of_somebody_else_is_named_with_whose_it_is(own: Signed, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o055)
    own.certificate.chmod(0o644)
    own.key.chmod(0o600)
    os.seteuid(65534)
    try:
        told = refusal(certificate=own.certificate, key=own.key)
    finally:
        os.seteuid(0)
    assert re.fullmatch(
        rf"broker\.key: {own.key} may not be read by \S+, as whom this runs: it is root's \(mode 600\)", told
    )


# ------------------------------------------------------------- encrypted keys


def encrypted(own: Signed, form: PrivateFormat) -> Path:
    path = own.key.with_suffix(".encrypted")
    path.write_bytes(key_of(own).private_bytes(Encoding.PEM, form, BestAvailableEncryption(SECRET)))
    return path


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_opened_by_a_passphrase_file_or_named(
    own: Signed, tmp_path: Path, form: PrivateFormat
) -> None:
    key, secret = encrypted(own, form), tmp_path / "passphrase"
    told = refusal(certificate=own.certificate, key=key)
    assert told.startswith(f"broker.key: {key} is encrypted, ") and "broker.key_passphrase_file" in told
    for written in (SECRET, SECRET + b"\r\n", b"\xef\xbb\xbf" + SECRET + b"\n"):
        secret.write_bytes(written)
        assert tls_context(broker(certificate=own.certificate, key=key, key_passphrase_file=secret)) is not None
    secret.write_bytes(b"wrong")
    told = refusal(certificate=own.certificate, key=key, key_passphrase_file=secret)
    assert told.startswith(f"broker.key_passphrase_file: what is in {secret} does not open {key}")
    secret.unlink()
    told = refusal(certificate=own.certificate, key=key, key_passphrase_file=secret)
    assert told == f"broker.key_passphrase_file: cannot read {secret}: No such file or directory"
    line = refusal(certificate=own.certificate, key=key).rpartition("decrypt the key: ")[2]
    subprocess.run(f"{line} -passin 'pass:{SECRET.decode()}'", shell=True, check=True, capture_output=True)
    assert tls_context(broker(certificate=own.certificate, key=Path(f"{key}.plain"))) is not None


LOADS = """
import sys
from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.transport.endpoint import tls_context
tls_context(BrokerSettings(url="mqtts://h", certificate=sys.argv[1], key=sys.argv[2]))
"""


def test_an_encrypted_key_never_asks_on_a_terminal(own: Signed) -> None:
    """OpenSSL would: on the controlling terminal, whatever the standard streams are, and wait for ever."""
    key = encrypted(own, PrivateFormat.PKCS8)
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        ioctl(theirs, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-c", LOADS, str(own.certificate), str(key)]
    try:
        ended = subprocess.run(
            command,
            stdin=theirs,
            capture_output=True,
            text=True,
            start_new_session=True,
            preexec_fn=take_terminal,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "ConfigError: broker.key: " in ended.stderr and "is encrypted" in ended.stderr


# ------------------------------------------------------------- handshakes


class Server:
    """A TLS server that shakes hands with one client after the other; ``seen`` are their SNI and ALPN."""

    def __init__(self, signed: Signed, alpn: tuple[str, ...] = ()) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(signed.certificate, signed.key)
        if alpn:
            self._context.set_alpn_protocols(list(alpn))
        self._context.sni_callback = lambda _socket, name, _context: self._names.append(name)
        self._names: list[str | None] = []
        self.seen: list[tuple[str | None, str | None]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtts://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
                self.seen.append((self._names[-1] if self._names else None, secure.selected_alpn_protocol()))
                secure.sendall(b"x")
                secure.recv(1)


@contextlib.contextmanager
def serving(signed: Signed, *alpn: str) -> Iterator[Server]:
    server = Server(signed, alpn)
    try:
        yield server
    finally:
        server.close()


def shake_hands(server: Server, **keys: object) -> str | None:
    """Connect as the agent does; why not, if not."""
    there = broker(url=server.url, **keys)
    try:
        transport = open_transport(endpoint(there), tls_context(there), there.tls_server_name)
    except OSError as error:
        failure = reasons.explain(error, there)
        return f"{failure.reason} -> {failure.mend}"
    transport.recv(1)
    transport.close()
    return None


def issue(name: str, key: rsa.RSAPublicKey, issuer: str, signer: rsa.RSAPrivateKey, *more: x509.ExtensionType) -> bytes:
    """A certificate with these extensions only."""
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key,
        x509.random_serial_number(),
        now - datetime.timedelta(days=1),
        now + datetime.timedelta(days=1),
    )
    for extension in more:
        built = built.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return built.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


def key_file(folder: Path, key: rsa.RSAPrivateKey) -> Path:
    path = folder / "server.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


LOOPBACK = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    return rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


Keys = tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]


def authority_with(folder: Path, keys: Keys, *extensions: x509.ExtensionType) -> tuple[Path, Signed]:
    """An authority whose certificate has these extensions only, as small tools make them, and a server's files."""
    ca, certificate = folder / "small.pem", folder / "server.pem"
    ca.write_bytes(issue("small", keys[0].public_key(), "small", keys[0], *extensions))
    certificate.write_bytes(issue("server", keys[1].public_key(), "small", keys[0], LOOPBACK))
    return ca, Signed(certificate, key_file(folder, keys[1]))


IS_CA = x509.BasicConstraints(True, None)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ssl.SSLContext]:
    """What Python 3.13 makes of it, with every Python."""
    made = ssl.create_default_context

    def as_of_3_13(*arguments: object, **options: object) -> ssl.SSLContext:
        context = made(*arguments, **options)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_of_3_13)
    return as_of_3_13


def test_an_authority_without_key_usage_will_do_with_every_python(
    tmp_path: Path, keys: Keys, strict: Callable[..., ssl.SSLContext]
) -> None:
    """As ``openssl req -x509`` makes them."""
    ca, signed = authority_with(tmp_path, keys, IS_CA)
    with serving(signed) as server:
        there = broker(url=server.url)
        with pytest.raises(ssl.SSLCertVerificationError):
            open_transport(endpoint(there), strict(cafile=str(ca)))
        assert shake_hands(server, ca=ca) is None


def test_an_authority_below_another_one_may_be_named_alone(tmp_path: Path, keys: Keys) -> None:
    """So does curl, and Python since 3.13."""
    ca, signed = authority_with(tmp_path, keys, IS_CA)
    ca.write_bytes(issue("small", keys[0].public_key(), "top", keys[1], IS_CA))
    with serving(signed) as server:
        assert shake_hands(server, ca=ca) is None
        assert "not signed by broker.ca" in str(shake_hands(server, ca=Authority(tmp_path, "top").certificate))


NO_SIGNING = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


@pytest.mark.parametrize(
    "extensions",
    [(), (x509.BasicConstraints(False, None),), (IS_CA, NO_SIGNING)],
    ids=["nothing", "no CA", "no signing"],
)
def test_what_is_no_authority_is_told_as_that(
    tmp_path: Path, keys: Keys, extensions: tuple[x509.ExtensionType, ...]
) -> None:
    ca, signed = authority_with(tmp_path, keys, *extensions)
    with serving(signed) as server:
        told = str(shake_hands(server, ca=ca))
        assert "is signed by what is no authority, for want of basicConstraints CA:TRUE, or keyCertSign" in told


def test_a_certificate_that_signed_itself_is_told_and_may_be_named(tmp_path: Path, keys: Keys) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(issue("server", keys[1].public_key(), "server", keys[1], LOOPBACK))
    with serving(Signed(own, key_file(tmp_path, keys[1]))) as server:
        told = str(shake_hands(server, ca=Authority(tmp_path, "other").certificate))
        assert "it signed itself: if you know it, set broker.ca to it" in told
        assert shake_hands(server, ca=own) is None


def test_a_system_without_authorities_is_told_as_one(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As containers have it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with serving(authority.sign("server", "127.0.0.1")) as server:
        told = str(shake_hands(server))
    assert told.endswith("cannot be checked: this system has no authorities -> sudo apt install ca-certificates")


def test_the_servers_name_and_the_protocols_are_those_of_the_configuration(authority: Authority) -> None:
    with serving(authority.sign("server", "broker.example"), "mqtt") as server:
        ca = authority.certificate
        assert "is for another host name than '127.0.0.1'" in str(shake_hands(server, ca=ca))
        assert shake_hands(server, ca=ca, tls_server_name="broker.example", alpn=("x-amzn-mqtt-ca", "mqtt")) is None
        assert server.seen[-1] == ("broker.example", "mqtt")
        told = str(shake_hands(server, ca=ca, tls_server_name="other.example"))
        assert "is for another host name than 'other.example'" in told and "-servername other.example" in told
        assert "into broker.tls_server_name" in told
