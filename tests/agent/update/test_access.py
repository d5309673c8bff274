"""What stands between a device and its repository: logins of networks and servers, tokens; and what is said of them."""

import base64
from pathlib import Path

import pytest

from tests.agent.update.certificates import self_signed
from tests.agent.update.device import Device
from tests.agent.update.proxy import proxying
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Answer, Handler, Site, answering, serving

PAGE = b"<!DOCTYPE html>\n<html><head><title>Plant  WiFi:\x07 log in</title></head><body>who are you?</body></html>"
HTML = {"Content_Type": "text/html; charset=utf-8"}


@pytest.fixture(autouse=True)
def _published(publisher: Publisher) -> None:
    publisher.publish("1.0.0")
    publisher.release()


def led_to(url: str) -> Answer:
    return answering(302, b"", Location=url)


# ------------------------------------------------------------- captive portals


def test_a_login_page_in_place_of_metadata_is_told_as_one(its_device: Device, its_site: Site) -> None:
    """Status 200, whatever was asked for: the fault is the network's, and nobody shall look into root.json for it."""
    its_site.answers[""] = answering(200, PAGE, **HTML)
    outcome = its_device.update()
    assert outcome.reason == (
        f'cannot fetch metadata from {its_site.url}: a web page ("Plant WiFi: log in") came instead of 2.root.json: '
        "a captive portal or a proxy on the way (the login page of a network) answers in the repository's place, "
        "or the server has a page for every address. Log this device in to its network, then look: "
        f"curl -i {its_site.url}/metadata/2.root.json"
    )
    assert not outcome.set_aside
    its_site.answers.clear()
    assert its_device.update().result == "tested"


@pytest.mark.parametrize("part", ["timestamp.json", "snapshot.json", "manifest.json", "/blobs/"])
def test_a_page_is_no_file_whichever_was_asked_for(its_device: Device, its_site: Site, part: str) -> None:
    """A login that expires in between; nothing of it is kept."""
    its_site.answers[part] = answering(200, PAGE, **HTML)
    outcome = its_device.update()
    assert 'a web page ("Plant WiFi: log in") came instead of ' in str(outcome.reason) and not outcome.set_aside
    its_site.answers.clear()
    assert its_device.update().result == "tested"


def test_a_redirect_to_a_login_page_names_where_it_leads(its_device: Device, its_site: Site, tmp_path: Path) -> None:
    with serving(tmp_path) as portal:
        portal.answers[""] = answering(200, PAGE, **HTML)
        its_site.answers[""] = led_to(f"{portal.url}/login?back=secret")
        reason = str(its_device.update().reason)
        assert f", from {portal.url}/login?…, where it leads to" in reason and "captive portal" in reason
        assert "2.root.json" in reason and "not to be trusted" not in reason
        portal.answers[""] = answering(404, PAGE, **HTML)
        reason = str(its_device.update().reason)
        assert "is no repository" in reason and f"from {portal.url}/login?…" in reason
    reason = str(its_device.update().reason)
    assert f"it leads to 127.0.0.1:{portal.server_port}, and there: Connection refused" in reason


def test_a_network_that_says_that_it_wants_a_login(its_device: Device, its_site: Site) -> None:
    its_site.answers[""] = answering(511, PAGE, **HTML)  # RFC 6585 6
    assert "the server answers 511: the network wants a login first" in str(its_device.update().reason)


def test_a_page_that_a_proxy_answers_with_names_the_proxy(its_device: Device, its_site: Site) -> None:
    its_site.answers[""] = answering(200, PAGE, **HTML)
    with proxying() as proxy:
        its_device.url = f"http://repository.invalid:{its_site.server_port}"
        its_device.environment = {"http_proxy": proxy.url}
        place = f"127.0.0.1:{proxy.server_port}"
        assert f"the proxy {place}, which http_proxy names, or a captive portal" in str(its_device.update().reason)
        its_site.answers[""] = answering(403, PAGE, **HTML)
        assert f"answers 403; it, or the proxy {place}, which http_proxy names," in str(its_device.update().reason)


# ------------------------------------------------------------- what a server wants to know


def test_a_query_goes_with_every_request_and_into_no_word(its_device: Device, its_site: Site) -> None:
    its_device.url = f"{its_site.url}/?token=s3cret%2Ft&x=1"
    assert its_device.update().result == "tested"
    assert len(its_site.requests) > 5 and any("/blobs/" in path for path in its_site.requests)
    assert set(its_site.queries) == {"token=s3cret%2Ft&x=1"}
    for answer in (answering(403, b""), answering(500, b""), answering(200, PAGE), answering(404, b""), hangs_up):
        its_site.answers[""] = answer
        reason = its_device.update().reason
        assert reason and "s3cret" not in reason
    its_site.answers[""] = answering(403, b"")
    assert "what stands behind the ? of repository.url" in str(its_device.update().reason)
    its_device.url = "http://127.0.0.1:9/?token=s3cret"
    assert its_device.update().reason == "cannot fetch metadata from http://127.0.0.1:9: Connection refused"
    assert "s3cret" not in its_device.log.read_text()


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def wanting(site: Site, login: str) -> None:
    """Have the site ask for a name and a password."""

    def answer(handler: Handler) -> None:
        said = (handler.headers["Authorization"] or "").removeprefix("Basic ")
        if base64.b64decode(said).decode() != login:
            answering(401, b"", WWW_Authenticate='Basic realm="models"')(handler)
        else:
            super(Handler, handler).do_GET()

    site.answers[""] = answer


def test_a_server_may_want_a_name_and_a_password(its_device: Device, its_site: Site, tmp_path: Path) -> None:
    """The file may have been written on Windows."""
    wanting(its_site, "gate-1:gehe:im ü")
    secret = tmp_path / "secret"
    assert "401: it wants a name and a password: set repository.username" in str(its_device.update().reason)
    its_device.access = {"username": "gate-1", "password_file": str(secret)}
    assert its_device.update().reason == f"repository.password_file: cannot read {secret}: No such file or directory"
    secret.write_bytes(b"wrong\n")
    reason = str(its_device.update().reason)
    assert "401 to 'gate-1': repository.username and what is in" in reason and "wrong" not in reason
    secret.write_bytes("\ufeffgehe:im ü\r\n".encode())
    assert its_device.update().result == "tested"


def test_a_password_does_not_go_to_where_the_server_leads(its_device: Device, its_site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim")
    its_device.access = {"username": "gate-1", "password_file": str(tmp_path / "secret")}
    with serving(tmp_path) as other:
        its_site.answers[""] = led_to(f"{other.url}/there")
        its_device.update()
        assert other.requests and not any(other.logins) and all(its_site.logins)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "garbage"])
def test_a_ca_that_cannot_be_used_is_named(its_device: Device, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    its_device.access = {"ca": str(tmp_path / "ca.pem")}
    assert str(its_device.update().reason).startswith(f"repository.ca: {tmp_path / 'ca.pem'}")


def test_a_server_with_a_certificate_for_another_name(its_device: Device, publisher: Publisher, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "models.example")
    with serving(publisher.folder) as site:
        site.speak_tls(certificate, key)
        its_device.url, its_device.access = f"https://127.0.0.1:{site.server_port}", {"ca": str(certificate)}
        reason = str(its_device.update().reason)
    assert f"the certificate of 127.0.0.1:{site.server_port} is for another host name than '127.0.0.1'" in reason
    assert "into repository.url" in reason
