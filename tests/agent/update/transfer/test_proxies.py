"""Proxies from the environment, as every program on a factory's network needs them."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.update.transfer.proxies import UnusableProxyError, is_exempt, parse, proxy_for
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
        site.speak_tls(certificate, key)
        its_device.url = f"https://{HOST}:{site.server_port}"
        its_device.environment = {"https_proxy": proxy.url, "SSL_CERT_FILE": str(certificate)}
        assert its_device.update().result == "tested"
        assert set(proxy.asked) == {f"CONNECT {HOST}:{site.server_port}"}
        its_device.environment = {"https_proxy": proxy.url}
        reason = str(its_device.update().reason)
        assert f"the certificate of {HOST}:{site.server_port} is not signed by this system's authorities" in reason
        assert "set repository.ca" in reason and "-proxy 127.0.0.1:" in reason
        its_device.access = {"ca": str(certificate)}
        its_device.url = f"https://{HOST}:{site.server_port}/"
        assert its_device.update().result == "tested"


def test_a_proxy_may_want_a_name_and_a_password(its_device: Device, its_site: Site, proxy: Proxy) -> None:
    """Percent-encoded as they should be, or as they are; for each request, and never in what is said."""
    proxy.credentials = "ada:a@b/c d"
    place = f"127.0.0.1:{proxy.server_port}"
    its_device.url = f"http://{HOST}:{its_site.server_port}"
    its_device.environment = {"http_proxy": f"http://{place}"}
    assert its_device.update().reason == (
        f"cannot fetch metadata from {its_device.url}: the proxy {place}, which http_proxy names, wants a name and a "
        "password (407): http_proxy=http://USER:PASSWORD@HOST:PORT"
    )
    its_device.environment = {"HTTP_PROXY": f"http://ada:wrong@{place}"}
    reason = str(its_device.update().reason)
    assert "which HTTP_PROXY names, does not take the name and password in it (407)" in reason and "wrong" not in reason
    for value in (f"http://ada:a%40b%2Fc%20d@{place}", f"ada:a@b/c d@{place}/"):
        its_device.environment = {"http_proxy": value}
        assert its_device.update().result == "tested"


def test_a_tunnel_may_want_a_name_and_a_password(
    its_device: Device, publisher: Publisher, proxy: Proxy, tmp_path: Path
) -> None:
    """Said with CONNECT, and to the proxy only."""
    proxy.credentials = "ada:geheim"
    place = f"127.0.0.1:{proxy.server_port}"
    certificate, key = self_signed(tmp_path, HOST)
    with serving(publisher.folder) as site:
        site.speak_tls(certificate, key)
        its_device.url, its_device.access = f"https://{HOST}:{site.server_port}", {"ca": str(certificate)}
        its_device.environment = {"https_proxy": place}
        assert f"the proxy {place}, which https_proxy names, wants a name and a password (407)" in str(
            its_device.update().reason
        )
        its_device.environment = {"HTTPS_PROXY": f"ada:geheim@{place}"}
        assert its_device.update().result == "tested"
        assert not any(site.logins)


def test_a_proxy_needs_no_scheme(its_device: Device, its_site: Site, proxy: Proxy) -> None:
    """As curl and everybody else reads it."""
    its_device.url = f"http://{HOST}:{its_site.server_port}"
    its_device.environment = {"http_proxy": f"127.0.0.1:{proxy.server_port}"}
    assert its_device.update().result == "tested"
    assert len(proxy.asked) == len(its_site.requests) > 0


def test_a_proxy_that_is_down_or_refuses_is_a_sentence(its_device: Device, proxy: Proxy) -> None:
    """Who reads it must know that it is not the repository that is down."""
    its_device.environment = {"http_proxy": "http://127.0.0.1:9"}
    assert its_device.update().reason == (
        f"cannot fetch metadata from {its_device.url}: "
        "the proxy 127.0.0.1:9, which http_proxy names, does not work: Connection refused"
    )
    its_device.environment = {"http_proxy": "socks5h://ada:geheim@127.0.0.1:1080"}
    assert its_device.update().reason == (
        f"cannot fetch metadata from {its_device.url}: http_proxy names a SOCKS proxy, which is not supported "
        "(socks5h://127.0.0.1:1080): write http_proxy=http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT"
    )
    its_device.environment = {"http_proxy": "nonsense://127.0.0.1:9"}
    reason = str(its_device.update().reason)
    assert reason.startswith(f"cannot fetch metadata from {its_device.url}: http_proxy names no HTTP proxy")


@pytest.mark.parametrize(
    ("value", "url", "credentials"),
    [
        ("proxy:3128", "http://proxy:3128", None),
        ("http://proxy", "http://proxy:80", None),
        ("HTTP://proxy:3128/", "http://proxy:3128", None),
        ("https://proxy", "https://proxy:443", None),
        ("[fe80::1]:3128", "http://[fe80::1]:3128", None),
        ("ada@proxy:3128", "http://proxy:3128", "ada:"),
        ("ada:pa:ss@proxy:3128", "http://proxy:3128", "ada:pa:ss"),
        ("http://PLANT%5Cada:%C3%BC%25@proxy:3128", "http://proxy:3128", "PLANT\\ada:ü%"),
        ("ada:#1@x?@proxy:3128", "http://proxy:3128", "ada:#1@x?"),
    ],
)
def test_what_a_variable_means(value: str, url: str, credentials: str | None) -> None:
    proxy = parse(value, "http_proxy")
    said = proxy.authorization and base64.b64decode(proxy.authorization.removeprefix("Basic ")).decode()
    assert (proxy.url, said) == (url, credentials)


@pytest.mark.parametrize("value", ["http://", "ada:geheim@", "ada:geheim@proxy:99999", "http://ada:geheim@pro xy:1"])
def test_what_is_no_proxy_is_told_without_the_password(value: str) -> None:
    with pytest.raises(UnusableProxyError, match=r"^http_proxy has no host and port") as refused:
        parse(value, "http_proxy")
    assert "geheim" not in str(refused.value)


def test_the_variables_have_an_order() -> None:
    """The scheme's own before the one for all, lower case before upper, and an empty one is none."""

    def chosen(url: str, **environment: str) -> str | None:
        proxy = proxy_for(url, environment)
        return proxy and proxy.url.removeprefix("http://").partition(":")[0]

    assert chosen("http://h", http_proxy="a:1", HTTP_PROXY="b:1", all_proxy="c:1") == "a"
    assert chosen("http://h", HTTP_PROXY="b:1", all_proxy="c:1") == "b"
    assert chosen("http://h", https_proxy="a:1", ALL_PROXY="c:1") == "c"
    assert chosen("https://h", https_proxy="a:1", http_proxy="b:1") == "a"
    assert chosen("http://h", http_proxy="", HTTP_PROXY="b:1") is None
    assert chosen("file:///repo", all_proxy="a:1") is None
    assert chosen("http://h", http_proxy="a:1", no_proxy="", NO_PROXY="h") == "a"
    assert chosen("http://h", http_proxy="a:1", NO_PROXY="h") is None


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("repo.plant.example", True),
        ("plant.example", True),
        (".plant.example", True),
        ("*.plant.example", True),
        ("other, plant.example", True),
        ("other plant.example", True),
        ("Repo.Plant.Example:8080", True),
        ("repo.plant.example:80", False),
        ("ant.example", False),
        ("repo.plant.example.org", False),
        ("", False),
        (",", False),
        ("*", True),
    ],
)
def test_who_needs_no_proxy(no_proxy: str, exempt: bool) -> None:
    assert is_exempt("repo.plant.example", 8080, no_proxy) is exempt


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("fd00::1", "[fd00::1]", True),
        ("fd00::1", "fd00::/8", True),
        ("h", "10.0.0.0/8", False),
    ],
)
def test_addresses_and_networks_need_no_proxy(host: str, no_proxy: str, exempt: bool) -> None:
    assert is_exempt(host, 80, no_proxy) is exempt
