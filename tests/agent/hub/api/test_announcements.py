"""Which pipelines were announced: files in the store, whoever put them there."""

from pathlib import Path

from maas_agent.base.log import SilentLog
from maas_agent.hub.api.announcements import Announcements


def test_what_no_pipeline_can_be_called_was_announced_by_nobody(tmp_path: Path) -> None:
    """A state is cleared on its topic: over a wildcard or what is no text in that, a broker ends the connection."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    for name in (b"old", b"+", b"#", b"a\n", b"\xff", b"..", b"a\xe2\x80\xaeb", b""):
        Path(folder, (name + b".json.announced").decode("utf-8", "surrogateescape")).touch()
    announced = Announcements(tmp_path, ["digits"], SilentLog("hub"))
    assert announced.gone == ["old"]
    announced.cleared("old")
    assert Announcements(tmp_path, ["digits"], SilentLog("hub")).gone == []
