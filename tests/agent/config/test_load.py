"""agent.toml: defaults that run, and mistakes that are explained."""

import socket
from pathlib import Path

import pytest

from maas_agent.config import ID, CommandSource, Config, MqttSource, load_config
from maas_agent.errors import ConfigError

PIPELINE = '[[pipeline]]\nname = "a"\nbundle = "b"\n'
REPOSITORY = '[repository]\nurl = "http://x"\nroot = "r"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def load(path: Path, text: str) -> Config:
    path.write_text(text)
    return load_config(path)


def refused(path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(path, text)
    assert str(path) in str(error.value)
    return str(error.value)


def test_an_empty_file_is_a_configuration_that_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gateway-7")
    config = load(path, "")
    assert config.device.id == "gateway-7"
    assert config.broker.url == "mqtt://127.0.0.1:1883"
    assert config.pipeline == ()


def test_a_pipeline_needs_a_name_and_a_bundle_and_has_defaults_for_the_rest(path: Path) -> None:
    (pipeline,) = load(path, '[device]\nid = "d"\n' + PIPELINE).pipeline
    assert pipeline.source == MqttSource() and pipeline.report.qos == 1
    assert (pipeline.accelerator, pipeline.version, pipeline.channel) == ("auto", "*", "stable")
    assert not pipeline.allow_unsigned


def test_every_source_is_chosen_by_its_type(path: Path) -> None:
    text = '[device]\nid = "d"\n' + PIPELINE
    mqtt = load(path, text + '[pipeline.source]\ntype = "mqtt"\ncontent = "json"\n')
    assert mqtt.pipeline[0].source == MqttSource("json")
    command = load(path, text + '[pipeline.source]\ntype = "command"\ncommand = ["a", "-b"]\nrestart_s = 0.5\n')
    assert command.pipeline[0].source == CommandSource(("a", "-b"), 0.5)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # keys nobody knows: the line, a guess, and the neighbours
        ('[broker]\nulr = "x"\n', 2, ["[broker] has no key 'ulr'", "did you mean 'url'", "keepalive_s, key"]),
        ("metric_s = 1\n", 1, ["the top level has no key 'metric_s'", "did you mean 'metrics_s'", "broker, device"]),
        ("zebra = 1\n", 1, ["no key 'zebra'. Its keys:"]),
        ('[devise]\nid = "x"\n', 1, ["no key 'devise'", "did you mean 'device'"]),
        (PIPELINE + "windows = 1\n", 4, ["[pipeline] has no key 'windows'", "did you mean 'window'"]),
        (PIPELINE + PIPELINE.replace('"a"', '"c"') + "windows = 1\n", 7, ["no key 'windows'"]),
        (PIPELINE + "[pipeline.report]\nqso = 1\n", 5, ["[pipeline.report] has no key 'qso'", "did you mean 'qos'"]),
        (
            PIPELINE + '[pipeline.source]\ntype = "mqtt"\nform = 1\n',
            6,
            ["[pipeline.source] has no key", "content, type"],
        ),
        (PIPELINE + '[pipeline.source]\nx = 1\ntype = "command"\ncommand = ["a"]\n', 5, ["command, restart_max_s"]),
        (
            '[repository]\nurl = "x"\nroot = "r"\npol_s = 1\n',
            4,
            ["did you mean 'poll_s'", "poll_s, root, timeout_s, url"],
        ),
        # values that do not fit
        ("metrics_s = 0\n", 1, ["metrics_s", "> 0"]),
        ("metrics_s = nan\n", 1, ["metrics_s"]),
        ("metrics_s = inf\n", 1, ["metrics_s"]),
        ('metrics_s = "5"\n', 1, ["metrics_s", "float", "str"]),
        ("[broker]\nkeepalive_s = 65536\n", 2, ["broker.keepalive_s", "65535"]),
        ("[broker]\nkeepalive_s = 0\n", 2, ["broker.keepalive_s", "1"]),
        ("[broker]\nsession_expiry_s = -1\n", 2, ["broker.session_expiry_s"]),
        ('[broker]\nprotocol = "3"\n', 2, ["broker.protocol", "'3'"]),
        ('[broker]\ntopic_root = ""\n', 2, ["broker.topic_root"]),
        ("[outbox]\nmax_bytes = 100\n", 2, ["outbox.max_bytes", "65536"]),
        (REPOSITORY + "poll_s = 0.5\n", 4, ["repository.poll_s"]),
        ('[repository]\nurl = "x"\n', 1, ["repository", "root"]),
        (PIPELINE + "window = 0\n", 4, ["pipeline.window", "1"]),
        (PIPELINE + "window = 1025\n", 4, ["pipeline.window", "1024"]),
        (PIPELINE + "threads = 65\n", 4, ["pipeline.threads", "64"]),
        (PIPELINE + "queue = 0\n", 4, ["pipeline.queue"]),
        (PIPELINE + "max_payload_bytes = 134217729\n", 4, ["pipeline.max_payload_bytes", "134217728"]),
        (PIPELINE + "deadline_s = -1\n", 4, ["pipeline.deadline_s"]),
        (PIPELINE + 'accelerator = "tpu"\n', 4, ["'tpu'", "choose one of auto, cpu, gpu, npu, delegate:PATH"]),
        (PIPELINE + "report = { qos = 2 }\n", 4, ["pipeline.report.qos", "2"]),
        (PIPELINE + '[pipeline.source]\ntype = "camra"\n', 5, ["camra", "choose one of mqtt, command"]),
        (PIPELINE + '[pipeline.source]\ncontent = "raw"\n', 4, ["type"]),
        (PIPELINE + '[pipeline.source]\ntype = "command"\ncommand = []\n', 6, ["pipeline.source.command"]),
        (PIPELINE + '[pipeline.source]\ntype = "command"\ncommand = "a -b"\n', 6, ["as a list: command = ["]),
        (PIPELINE + '[pipeline.source]\ntype = "mqtt"\ncontent = "xml"\n', 6, ["pipeline.source.content", "xml"]),
        ('[[pipeline]]\nbundle = "b"\n', 1, ["name"]),
        ('[pipeline]\nname = "a"\n', 1, ["pipeline", "array"]),
        # what only the whole says
        ('[device]\nid = "a/b"\n', 2, ["'a/b' is no device id"]),
        ('[device]\nid = "groups"\n', 2, ["'groups' is no device id"]),
        ('[device]\nid = "$SYS"\n', 2, ["is no device id"]),
        ('[device]\nid = "x\\u0000"\n', 2, ["is no device id"]),
        (f'[device]\nid = "{"x" * 65}"\n', 2, ["is no device id"]),
        ('[device]\ngroups = ["ok", "a+"]\n', 2, ["'a+' is no group name"]),
        ('[device]\ngroups = ["ok", 1]\n', 2, ["device.groups"]),
        ('[broker]\ntopic_root = "a//b"\n', 2, ["is no topic"]),
        ('[broker]\ntopic_root = "a/#"\n', 2, ["is no topic"]),
        ('[broker]\nurl = "http://x"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://user:secret@x"\n', 2, ["write broker.username", "broker.password_file"]),
        ('[broker]\nurl = "mqtt://"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://:1883"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://x:port"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://x:70000"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://x:0"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://[::1"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\nurl = "mqtt://x/path"\n', 2, ["mqtt://HOST:PORT"]),
        ('[broker]\ncertificate = "c"\n', 1, ["certificate and key belong together"]),
        ('[broker]\nkey = "k"\n', 1, ["certificate and key belong together"]),
        ('[[pipeline]]\nname = "cmd"\nbundle = "b"\n', 2, ["'cmd' is no pipeline name", "desired, metrics, status"]),
        ('[[pipeline]]\nname = "a/b"\nbundle = "b"\n', 2, ["is no pipeline name"]),
        ('[[pipeline]]\nname = ""\nbundle = "b"\n', 2, ["is no pipeline name"]),
        (PIPELINE + PIPELINE, 5, ["two pipelines are called 'a'"]),
        ('[[pipeline]]\nname = "a"\n', 1, ["needs either model", "or bundle"]),
        (REPOSITORY + PIPELINE + 'model = "m"\n', 4, ["needs either model", "or bundle"]),
        ('[[pipeline]]\nname = "a"\nmodel = "m"\n', 3, ["there is no [repository]"]),
        (PIPELINE + 'version = "latest"\n', 4, ["'latest' is no version range"]),
        (PIPELINE + 'version = "01.2.0"\n', 4, ["'01.2.0' is no version range"]),
        # no TOML
        ("[broker\n", 1, ["not valid TOML"]),
        ("a = 1\na = 2\n", 2, ["not valid TOML"]),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_a_mistake_is_explained_with_its_line(path: Path, text: str, line: int, words: list[str]) -> None:
    message = refused(path, text)
    assert f"line {line}" in message
    assert [word for word in words if word not in message] == []
    assert "$" not in message.replace("$SYS", "")  # msgspec's own way to say where


def test_the_line_itself_is_shown(path: Path) -> None:
    assert refused(path, "\n\n[broker]\n  keepalive_s = 0   # off\n").endswith("\n    4 | keepalive_s = 0   # off")


@pytest.mark.parametrize(
    "url",
    ["mqtt://h", "mqtts://h", "mqtt://h:1883", "mqtt://h/", "mqtt://127.0.0.1:1", "mqtt://[::1]:1883", "mqtt://a.b-c"],
)
def test_a_broker_is_a_host_with_or_without_a_port(path: Path, url: str) -> None:
    assert load(path, f'[device]\nid = "d"\n[broker]\nurl = "{url}"\n').broker.url == url


@pytest.mark.parametrize("name", ["a", "a-b_c.d", "Wärme 2", "x" * 64, "in", "out"])
def test_names_may_be_what_a_topic_may_be(path: Path, name: str) -> None:
    config = load(path, f'[device]\nid = "{name}"\ngroups = ["{name}"]\n' + PIPELINE.replace('"a"', f'"{name}"'))
    assert (config.device.id, config.device.groups, config.pipeline[0].name) == (name, (name,), name)


def test_a_host_name_that_is_no_device_id_is_a_mistake_to_mend(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a/b")
    with pytest.raises(ConfigError, match=r"device\.id: 'a/b' is no device id"):
        load(path, "")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = '\xe4'"])
def test_a_file_that_is_no_text_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(path)


def test_a_missing_file_and_a_folder_are_refused_with_the_reason(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(path)
    path.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(path)


def test_a_secret_has_no_place_in_the_file(path: Path) -> None:
    """Only the path of one."""
    assert "[broker] has no key 'password'" in refused(path, '[broker]\npassword = "geheim"\n')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[broker]\nurl = "mqtts://ada:geheim@h"\n', "no name and no password in mqtts://h: write broker.username"),
        ('[broker]\nurl = "http://ada:geheim@h?t=geheim"\n', "no name and no password in http://h?…"),
        ('[broker]\nurl = "mqtt://h/x?token=geheim"\n', "'mqtt://h/x?…': write mqtt://HOST:PORT"),
        (
            '[repository]\nroot = "r"\nurl = "https://ada:geheim@h/r"\n',
            "no name and no password in https://h/r: write repo",
        ),
        ('[broker]\npassword = "geheim"\n', "[broker] has no key 'password'"),
        ('[repository]\nroot = "r"\ntoken = "geheim"\n', "[repository] has no key 'token'"),
    ],
)
def test_a_secret_that_was_written_there_is_not_repeated(path: Path, text: str, told: str) -> None:
    message = refused(path, text)
    assert told in message and "geheim" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[repository]\nroot = "r"\npassword_file = "p"\n', "a password needs a username: set repository.username"),
        ('[repository]\nroot = "r"\nusername = "a:b"\n', "a username in HTTP has no colon"),
        ('[broker]\nkey_passphrase_file = "p"\n', "it opens a key: set broker.key too"),
        ('[broker]\nclient_id = ""\n', "broker.client_id"),
        ('[broker]\ntls_server_name = ""\n', "broker.tls_server_name"),
        ('[broker]\nalpn = ["a b"]\n', "broker.alpn"),
        ('[broker]\nalpn = "mqtt"\n', "broker.alpn"),
    ],
)
def test_how_to_connect_is_checked(path: Path, text: str, words: str) -> None:
    assert words in refused(path, text)


def test_the_client_id_is_the_devices_unless_it_is_named(path: Path) -> None:
    path.write_text('[device]\nid = "gate-1"\n[broker]\ntopic_root = "plant/a"\n')
    assert load_config(path).client_id == "plant-a-gate-1"
    path.write_text('[device]\nid = "gate-1"\n[broker]\nclient_id = "thing 7"\n')
    assert load_config(path).client_id == "thing 7"


def test_a_byte_order_mark_is_no_part_of_the_file(path: Path) -> None:
    """Editors on Windows begin a file with one."""
    path.write_bytes(b"\xef\xbb\xbf" + b'metrics_s = 5\n[device]\nid = "d"\n')
    assert (load_config(path).metrics_s, load_config(path).device.id) == (5.0, "d")


def test_a_file_in_utf_16_is_told_how_to_become_utf_8(path: Path) -> None:
    path.write_bytes('[device]\nid = "d"\n'.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 text: save it as UTF-8 \(iconv -f UTF-16 -t UTF-8\)"):
        load_config(path)


class TestEnvironmentVariables:
    """``${NAME}`` in texts."""

    @pytest.fixture(autouse=True)
    def _variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SITE", "halle-3")
        monkeypatch.setenv("EMPTY", "")
        monkeypatch.delenv("NOBODY_SET_THIS", raising=False)

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("gate-${SITE}", "gate-halle-3"),
            ("${SITE}${SITE}", "halle-3halle-3"),
            ("${NOBODY_SET_THIS:-7}", "7"),
            ("${EMPTY:-x}", "x"),
            ("${SITE:-x}", "halle-3"),
            ("a${EMPTY}b", "ab"),
            ("a$${SITE}", "a${SITE}"),
            ("cost 5$", "cost 5$"),
            ("$SITE", None),
        ],
    )
    def test_a_reference_is_replaced_wherever_a_text_stands(self, path: Path, written: str, read: str | None) -> None:
        text = f'[device]\nid = "d"\ngroups = ["x", "{written}"]\n' + PIPELINE
        if read is None:
            assert "is no group name" in refused(path, text)  # a "$" alone is none of ours
        elif "$" in read:
            assert load(path, text.replace("groups = [", "groups = []\n#")).device.groups == ()
            store = load(path, f'[device]\nid = "d"\n[store]\npath = "/{written}"\n').store.path
            assert store == f"/{read}"
        else:
            assert load(path, text).device.groups == ("x", read)

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ("${NOBODY_SET_THIS}", "the environment variable NOBODY_SET_THIS is not set: set it"),
            ("${NOBODY-SET}", "'${NOBODY-SET}' is no ${NAME} of an environment variable"),
            ("${}", "'${}' is no ${NAME}"),
            ("${SITE", "'${SITE' is no ${NAME}"),
        ],
    )
    def test_what_cannot_be_replaced_is_a_mistake_with_its_line(self, path: Path, written: str, words: str) -> None:
        message = refused(path, f'[device]\nid = "d"\n[broker]\nurl = "mqtt://{written}"\n')
        assert "line 4: broker.url: " in message
        assert words in message

    def test_a_program_finds_its_arguments_as_they_were_written(self, path: Path) -> None:
        """A shell has variables of its own, and the environment itself."""
        source = '[pipeline.source]\ntype = "command"\ncommand = ["sh", "-c", "echo ${SITE} ${x}"]\n'
        config = load(path, '[device]\nid = "d"\n' + PIPELINE + source)
        assert config.pipeline[0].source == CommandSource(("sh", "-c", "echo ${SITE} ${x}"))


@pytest.mark.parametrize("name", ["\N{GRINNING FACE}" * 64, "\N{GRINNING FACE}" * 51])
def test_a_name_has_no_more_bytes_than_that_of_a_file(path: Path, name: str) -> None:
    """64 characters of four bytes: the file of its state could not be made, and all updates ended with it."""
    message = refused(path, PIPELINE.replace('"a"', f'"{name}"'))
    assert f"has {len(name.encode())} bytes in UTF-8, a name has at most 200" in message
    load(path, '[device]\nid = "d"\n' + PIPELINE.replace('"a"', '"' + "\N{GRINNING FACE}" * 50 + '"'))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[store]\npath = "~/models"\n', "store.path"),
        ('[device]\nkey = "~/device.key"\n', "device.key"),
        ('[broker]\nusername = "u"\npassword_file = "~pi/secret"\n', "broker.password_file"),
        ('[broker]\nca = "~/ca.pem"\n', "broker.ca"),
        (REPOSITORY.replace('"r"', '"~/root.json"'), "repository.root"),
        (PIPELINE.replace('"b"', '"~/b.maas"'), "pipeline.bundle"),
        (PIPELINE + 'accelerator = "delegate:~/lib.so"\n', "pipeline.accelerator"),
        (PIPELINE + '[pipeline.source]\ntype = "command"\ncommand = ["~/read"]\n', "pipeline.source.command"),
    ],
)
def test_a_path_that_begins_with_a_tilde_is_refused(path: Path, text: str, where: str) -> None:
    """It made a folder called ``~``; and it would be another one for who checks than for who serves."""
    message = refused(path, text)
    assert "~ is another folder for each user; write " in message
    assert where.rpartition(".")[2] in message


@pytest.mark.parametrize("name", ["..", ".", "a\u202eb", "a\u2066", "\u200bdev", "a\x9b2J", "a\ufeff", "a\u2028b"])
def test_a_name_is_no_folder_and_has_nothing_that_nobody_sees(name: str) -> None:
    """It is a level of topics, part of file names, and shown to people, who could take it for another one."""
    assert not ID.match(name)
    assert all(ID.match(fine) for fine in ("gate-1", "a..b", "...", "Tür 3", "門", "dev.1"))
