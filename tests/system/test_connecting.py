"""Every way to a broker, and what is said where there is none: a real agent, a real Mosquitto, ``maas-agent check``."""

import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from maas_agent.checks import services
from maas_agent.checks.finding import CheckResult
from maas_agent.config import load_config
from tests.bundles import samples
from tests.system.brokers import Mosquitto, free_port
from tests.system.certificates import Authority, Signed
from tests.system.conftest import LOCAL
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.webs import Web

SAMPLE = samples(1)[0].tobytes()


class Scene:
    """A broker with a TLS listener, or one with passwords, and devices that want to connect to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        self._ends: list[Callable[[], None]] = []

    def broker(self, *options: str) -> Mosquitto:
        # As root Mosquitto would become somebody who cannot read a test's files.
        mosquitto = Mosquitto(self.folder, options="\n".join(["user root", *options]))
        mosquitto.start()
        self._ends.append(mosquitto.stop)
        return mosquitto

    def with_tls(self, signed: Signed, *options: str) -> Mosquitto:
        """Its own port speaks TLS."""
        files = f"cafile {self.authority.certificate}\ncertfile {signed.certificate}\nkeyfile {signed.key}"
        return self.broker(files, *options)

    def device(self, url: str, pipelines: str = "", **keys: object) -> Device:
        lines = [f'{key} = "{value}"' for key, value in keys.items()]
        settings = "\n".join(["reconnect_max_s = 0.2", *lines])
        device = Device(self.folder / "dev", url, pipelines, broker=settings)
        self._ends.append(device.close)
        device.start()
        return device

    def web(self, mosquitto: Mosquitto, context: ssl.SSLContext | None = None) -> Web:
        web = Web(mosquitto.port, context)
        self._ends.append(web.close)
        return web

    def close(self) -> None:
        for end in reversed(self._ends):
            end()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def check(device: Device) -> CheckResult:
    return services.broker(load_config(device.config))


def tls(mosquitto: Mosquitto) -> str:
    return f"mqtts://127.0.0.1:{mosquitto.port}"


# ------------------------------------------------------------- what works


def connects(device: Device, mqtt: str = "5") -> None:
    wait_until(lambda: f"mqtt={mqtt}" in device.log(), f"it does not connect: {device.log()}")
    finding = check(device)
    assert finding.passed and f"MQTT {mqtt}" in finding.found


def test_tls_with_an_authority_of_ones_own(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1"))
    connects(scene.device(tls(mosquitto), ca=scene.authority.certificate))


def test_mutual_tls(scene: Scene) -> None:
    mosquitto = scene.with_tls(
        scene.authority.sign("broker", "127.0.0.1"), "require_certificate true", "use_identity_as_username true"
    )
    own = scene.authority.sign("gate-1")
    connects(scene.device(tls(mosquitto), ca=scene.authority.certificate, certificate=own.certificate, key=own.key))
    assert "u'gate-1'" in mosquitto.log()


def test_mutual_tls_with_an_encrypted_key(scene: Scene) -> None:
    """Under another name than the address, and with a client id of one's own."""
    mosquitto = scene.with_tls(scene.authority.sign("broker", "broker.example"), "require_certificate true")
    own = scene.authority.sign("gate-1")
    secret = scene.folder / "passphrase"
    secret.write_bytes(b"\xef\xbb\xbfpass phrase\r\n")
    encrypt = ["openssl", "pkey", "-in", own.key, "-aes256", "-passout", "pass:pass phrase", "-out"]
    subprocess.run([*encrypt, scene.folder / "encrypted.key"], check=True)
    device = scene.device(
        tls(mosquitto),
        ca=scene.authority.certificate,
        certificate=own.certificate,
        key=scene.folder / "encrypted.key",
        key_passphrase_file=secret,
        tls_server_name="broker.example",
        client_id="an id",
    )
    connects(device)
    assert " as an id (p5, c0, " in mosquitto.log()


def test_a_check_leaves_nothing_at_the_broker_and_disturbs_nobody(scene: Scene) -> None:
    """A client id of its own for each, a clean start and no expiry; where an agent is connected, its word will do."""
    mosquitto = scene.broker()
    device = scene.device(mosquitto.url)
    connects(device)
    config = load_config(device.config)
    assert "as the running agent says" in check(device).found
    assert "-check-" not in mosquitto.log()
    changed = msgspec.structs.replace(config, broker=msgspec.structs.replace(config.broker, keepalive_s=7))
    for protocol, version in (("5", "p5"), ("3.1.1", "p2")):
        other = msgspec.structs.replace(changed, broker=msgspec.structs.replace(changed.broker, protocol=protocol))
        finding = services.broker(other)
        assert finding.passed and "agent" not in finding.found
        assert re.search(rf"as maas-dev-check-[0-9a-f]{{8}} \({version}, c1, k7\)", mosquitto.log())
    assert device.connections == 1


def test_a_check_keeps_the_inputs_that_wait_where_the_username_is_the_client_id(
    scene: Scene, tmp_path: Path, secret: Path
) -> None:
    """There every connection is the agent's, whatever client id it says: a clean start would throw them away."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "dev", "right"], check=True)
    passwords.chmod(0o644)
    mosquitto = scene.broker("allow_anonymous false", f"password_file {passwords}", "use_username_as_clientid true")
    device = scene.device(mosquitto.url, username="dev", password_file=secret)
    connects(device)
    device.stop()
    assert check(device).passed
    device.start()
    wait_until(lambda: device.log().count("connected to the broker") == 2, device.log())
    assert "session=resumed" in device.log().rpartition("connected to the broker")[2]
    edited = msgspec.structs.replace(load_config(device.config).broker, keepalive_s=7)
    finding = services.broker(msgspec.structs.replace(load_config(device.config), broker=edited))
    assert finding.passed is None and "systemctl restart" in str(finding.mend)
    assert device.connections == 1


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "gate-1", "right"], check=True)
    path.chmod(0o644)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("right\n")
    return path


@pytest.mark.parametrize(("protocol", "mqtt"), [("auto", "5"), ("3.1.1", "3.1.1")])
def test_a_username_with_a_password_file(scene: Scene, passwords: Path, secret: Path, protocol: str, mqtt: str) -> None:
    mosquitto = scene.broker("allow_anonymous false", f"password_file {passwords}")
    connects(scene.device(mosquitto.url, username="gate-1", password_file=secret, protocol=protocol), mqtt)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_a_websocket_serves_like_any_other_connection(scene: Scene, bundle: Path, secure: bool) -> None:
    """Also an input of many frames, in both directions, while the server pings five times a second."""
    mosquitto, context, keys = scene.broker(), None, dict[str, object]()
    if secure:
        signed = scene.authority.sign("web", "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed.certificate, signed.key)
        keys["ca"] = scene.authority.certificate
    web = scene.web(mosquitto, context)
    url = f"{'wss' if secure else 'ws'}://127.0.0.1:{web.port}/some/path"
    device = scene.device(url, LOCAL.format(bundle=bundle), **keys)
    console = Console(mosquitto.port)
    try:
        console.wait("maas/dev/digits/state", lambda state: state["serving"])
        assert "result" in console.ask("dev", "digits", SAMPLE, "one")
        batch = console.ask("dev", "digits", samples(1024).tobytes(), "many")
        assert len(batch["result"]) == 1024
        assert console.ask("dev", "digits", bytes(9 << 20), "huge")["error"]["code"] == "too_large"
        for number in range(300):
            console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
        console.wait_for_count("maas/dev/digits/out/", 303)
        assert set(web.paths) == {"/some/path"}
        connects(device)
        assert device.log().count("connected to the broker") == 1
        assert device.stop() == 0
        console.wait("maas/dev/status", lambda status: status["status"] == "stopped")
    finally:
        console.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_result_that_is_larger_than_the_broker_takes_is_answered_with_an_error(
    scene: Scene, bundle: Path, protocol: str
) -> None:
    """MQTT 5 announces the limit; in 3.1.1 Mosquitto ends the connection over it, and nothing but that teaches it."""
    mosquitto = scene.broker("allow_anonymous true", "max_packet_size 90000")
    device = scene.device(mosquitto.url, LOCAL.format(bundle=bundle), protocol=protocol)
    console = Console(mosquitto.port)
    try:
        console.wait("maas/dev/digits/state", lambda state: state["serving"])
        connections = []
        for number in range(3):
            answer = console.ask("dev", "digits", samples(1024).tobytes(), f"many-{number}")
            connections.append(device.connections)
            assert answer["error"]["code"] == "result_too_large"
            assert "result" in console.ask("dev", "digits", SAMPLE, f"one-{number}")
        assert device.log().count("this broker ends connections over large messages") == (protocol != "5")
        assert device.log().count("not sent: larger than the broker takes") == 1
        # One that ended before the SUBACK was read does not count as a lesson.
        assert connections[0] == 1 if protocol == "5" else connections[0] >= 5
        assert connections[0] == connections[-1] == device.connections
    finally:
        console.close()


AMQTT = """
import asyncio, sys
from amqtt.broker import Broker
async def serve():
    web = {"type": "ws", "bind": "127.0.0.1:" + sys.argv[1]}
    listeners = {"default": {"type": "tcp", "bind": "127.0.0.1:0"}, "web": web}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    await Broker({"listeners": listeners, "plugins": plugins}).start()
    await asyncio.Event().wait()
asyncio.run(serve())
"""


def test_a_broker_that_has_websockets_itself(scene: Scene) -> None:
    """amqtt, which speaks 3.1.1 only."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", AMQTT, str(port)], stderr=subprocess.DEVNULL)
    try:
        device = scene.device(f"ws://127.0.0.1:{port}", protocol="3.1.1")
        connects(device, "3.1.1")
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------- what does not


def fails(device: Device, reason: str, mend: str) -> None:
    """One line in the log says what, where and what to type, however often it is tried; so does ``check``."""
    wait_until(lambda: re.search(r"failures=(4|8)\b", device.log()), f"it is not tried again: {device.log()}")
    told = [line for line in device.log().splitlines() if ": no connection to the broker" in line]
    assert len(told) == 1, device.log()
    assert re.search(reason, told[0]) and re.search(mend, told[0].partition("mend=")[2]), told[0]
    assert "Traceback" not in device.log()
    finding = check(device)
    assert finding.passed is False
    assert re.search(reason, finding.found) and re.search(mend, finding.mend or ""), finding


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_host(scene: Scene, host: str) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "broker.example", "10.9.8.7"))
    device = scene.device(f"mqtts://{host}:{mosquitto.port}", ca=scene.authority.certificate)
    fails(device, f"the certificate of {host}:[0-9]+ is for another host name than '{host}'", "-ext subjectAltName")


def test_a_certificate_of_another_authority(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1"))
    device = scene.device(tls(mosquitto), ca=scene.stranger.certificate)
    fails(device, rf"not signed by broker\.ca \({scene.stranger.certificate}\)", "set broker.ca")


def test_no_authority_but_the_systems(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1"))
    fails(scene.device(tls(mosquitto)), "not signed by this system's authorities", "set broker.ca")


def test_an_expired_certificate(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1", begins=-30, ends=-1))
    device = scene.device(tls(mosquitto), ca=scene.authority.certificate)
    fails(device, r"the certificate of 127\.0\.0\.1:[0-9]+ has expired", "openssl s_client .* -dates")


def test_a_certificate_of_tomorrow(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1", begins=1))
    device = scene.device(tls(mosquitto), ca=scene.authority.certificate)
    fails(device, "is not valid yet by this device's clock", "timedatectl")


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_a_missing_client_certificate(scene: Scene, version: str) -> None:
    signed = scene.authority.sign("broker", "127.0.0.1")
    mosquitto = scene.with_tls(signed, "require_certificate true", f"tls_version {version}")
    device = scene.device(tls(mosquitto), ca=scene.authority.certificate)
    fails(device, "wants a certificate of this device", "set broker.certificate and broker.key")


def test_a_client_certificate_that_the_broker_does_not_trust(scene: Scene) -> None:
    mosquitto = scene.with_tls(scene.authority.sign("broker", "127.0.0.1"), "require_certificate true")
    own = scene.stranger.sign("gate-1")
    keys = {"ca": scene.authority.certificate, "certificate": own.certificate, "key": own.key}
    device = scene.device(tls(mosquitto), **keys)
    fails(device, f"does not accept this device's certificate {own.certificate}", "openssl x509 -in")


def test_tls_with_a_port_that_has_none(scene: Scene) -> None:
    fails(scene.device(tls(scene.broker())), r"127\.0\.0\.1:[0-9]+ does not speak TLS", "mqtt://")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("who", ["nobody", "wrong"])
def test_a_wrong_password_or_none(scene: Scene, passwords: Path, secret: Path, protocol: str, who: str) -> None:
    mosquitto = scene.broker("allow_anonymous false", f"password_file {passwords}")
    secret.write_text("geheim-7")
    keys = {} if who == "nobody" else {"username": "gate-1", "password_file": secret}
    asked = "without a username" if who == "nobody" else "as 'gate-1'"
    device = scene.device(mosquitto.url, protocol=protocol, **keys)
    fails(device, rf"refused the connection: Not authorized \(0x87\).* asked {asked}", "broker.username")
    assert "geheim-7" not in device.log()


def test_a_websocket_where_there_is_none(scene: Scene) -> None:
    mosquitto = scene.broker()
    device = scene.device(f"ws://127.0.0.1:{mosquitto.port}/mqtt")
    fails(device, r"no WebSocket at 127\.0\.0\.1:[0-9]+/mqtt: it hung up", "broker.url")


def test_nobody_listens(scene: Scene) -> None:
    fails(scene.device(f"mqtt://127.0.0.1:{free_port()}"), "nobody listens on 127", "start the broker")


def test_a_name_that_nobody_knows(scene: Scene) -> None:
    device = scene.device("mqtt://no-such-host.invalid")
    fails(device, r"the name no-such-host\.invalid cannot be looked up", "getent hosts no-such-host.invalid")
