"""The operator's way to the broker: what is wrong with it is told by the options' names, and without secrets."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.errors import MaasError, NoInputError, UsageError
from maas_converter.fleet.broker import BrokerAccess, BrokerConnection
from tests.system.brokers import Mosquitto
from tests.system.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def mosquitto(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """With TLS, for those who have a certificate."""
    signed = authority.sign("broker", "127.0.0.1")
    files = f"cafile {authority.certificate}\ncertfile {signed.certificate}\nkeyfile {signed.key}"
    broker = Mosquitto(tmp_path, options=f"user root\n{files}\nrequire_certificate true")
    broker.start()
    yield broker
    broker.stop()


def refusal(kind: type[MaasError], url: str, **files: Path) -> str:
    with pytest.raises(kind) as refused, BrokerConnection(BrokerAccess(url=url, **files), ["maas/#"]):  # type: ignore[arg-type]
        pass
    return str(refused.value)


def test_a_key_may_be_encrypted_and_its_passphrase_in_a_file(
    mosquitto: Mosquitto, authority: Authority, tmp_path: Path
) -> None:
    own, url = authority.sign("operator"), f"mqtts://127.0.0.1:{mosquitto.port}"
    key, secret = tmp_path / "encrypted.key", tmp_path / "passphrase"
    subprocess.run(["openssl", "pkey", "-in", own.key, "-aes256", "-passout", "pass:word", "-out", key], check=True)
    files = {"ca": authority.certificate, "certificate": own.certificate, "key": key}
    told = refusal(NoInputError, url, **files)
    assert told.startswith(f"--key: {key} is encrypted, ") and "--key-passphrase-file" in told
    secret.write_bytes(b"\xef\xbb\xbfword\r\n")
    with BrokerConnection(BrokerAccess(url=url, key_passphrase_file=secret, **files), ["maas/#"]) as broker:
        assert broker.connected
    other = Authority(tmp_path, "stranger").certificate
    told = refusal(MaasError, url, **(files | {"ca": other, "key_passphrase_file": secret}))
    assert f"is not signed by --ca ({other})" in told and "openssl s_client" in told


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    told = refusal(UsageError, "mqtt://ada:geheim@127.0.0.1")
    assert told == "--broker mqtt://127.0.0.1: no name and no password there: --username, --password-file"
