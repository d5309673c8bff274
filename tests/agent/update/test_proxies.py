"""Proxies from the environment, as every program on a factory's network needs them."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.update.certificates import self_signed
from tests.agent.update.device import Device
from tests.agent.update.proxy import Proxy, proxying
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, serving

HOST = "repository.invalid"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _published(publisher: Publisher) -> None:
    publisher.publish("1.0.0")
    publisher.release()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_http_goes_through_the_proxy_that_the_environment_names(
    its_device: Device, its_site: Site, proxy: Proxy, name: str
) -> None:
    """The device need not even resolve the name of the server."""
    its_device.url = f"http://{HOST}:{its_site.server_port}"
    its_device.environment = {name: proxy.url}
    assert its_device.update().result == "tested"
    assert len(proxy.asked) == len(its_site.requests)
    assert all(asked.startswith(f"GET http://{HOST}:") for asked in proxy.asked)


@pytest.mark.parametrize("exempt", ["127.0.0.1", "localhost,127.0.0.1", "*"])
def test_no_proxy_says_who_is_asked_directly(its_device: Device, proxy: Proxy, exempt: str) -> None:
    """A repository inside the plant."""
    its_device.environment = {"http_proxy": proxy.url, "no_proxy": exempt}
    assert its_device.update().result == "tested"
    assert proxy.asked == []


def test_https_goes_through_a_tunnel(its_device: Device, publisher: Publisher, proxy: Proxy, tmp_path: Path) -> None:
    """The proxy sees the name and the port, and nothing else."""
    certificate, key = self_signed(tmp_path, HOST)
    with serving(publisher.folder) as site:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        site.socket = context.wrap_socket(site.socket, server_side=True)
        its_device.url = f"https://{HOST}:{site.server_port}"
        its_device.environment = {"https_proxy": proxy.url, "SSL_CERT_FILE": str(certificate)}
        assert its_device.update().result == "tested"
        assert set(proxy.asked) == {f"CONNECT {HOST}:{site.server_port}"}
        its_device.environment = {"https_proxy": proxy.url}
        assert "certificate verify failed" in str(its_device.update().reason)


def test_a_proxy_that_is_down_or_refuses_is_a_sentence(its_device: Device, proxy: Proxy) -> None:
    """Who reads it must know that it is not the repository that is down."""
    its_device.environment = {"http_proxy": "http://127.0.0.1:9"}
    assert its_device.update().reason == (
        f"cannot fetch metadata from {its_device.url}: "
        "the proxy that the environment names does not work: Connection refused"
    )
    its_device.environment = {"http_proxy": "nonsense://127.0.0.1:9"}
    reason = str(its_device.update().reason)
    assert reason.startswith(f"cannot fetch metadata from {its_device.url}: ") and "unexpected" not in reason
