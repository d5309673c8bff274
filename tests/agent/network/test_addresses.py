"""What of an address may be shown: no name, no password, no token, however it was written."""

import pytest

from maas_agent.network.addresses import has_userinfo, shown


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host/repo",
        "http://user:hun/ter2@host/repo",
        "mqtt://user:hunter2#x@host",
        "mqtts://user:hun?ter2@host:8883",
        "mqtt://hunter2@host",
        "user:hunter2@host:1883",
        "mqtt:user:hunter2@host",
        "https://user:p@hunter2@host/repo",
    ],
)
def test_a_password_is_found_and_not_shown(url: str) -> None:
    assert has_userinfo(url)
    assert "hun" not in shown(url) and "ter2" not in shown(url) and "host" in shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://host/@scope/repo",
        "https://host:8443/@scope/repo",
        "mqtt://[::1]:1883",
        "https://[::1]:8443/@scope",
        "file:///srv/repo@2",
        "/srv/a:b@c/repo",
        "mqtt://127.0.0.1",
    ],
)
def test_an_at_sign_elsewhere_is_no_password(url: str) -> None:
    assert not has_userinfo(url) and shown(url) == url
