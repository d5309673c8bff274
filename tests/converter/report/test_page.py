"""The page as a browser reads it, and the document beside it."""

import json
import re
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest

from maas_agent.errors import UnavailableError, UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.base.json_output import whole
from maas_converter.evidence.gather import Pair, distribution_of, judged_of, record_of
from maas_converter.evidence.record import CandidateFigures, Judged
from maas_converter.evidence.scoring import Truth, compare, score_of
from maas_converter.report.page import check_folder, render, write_report
from tests.converter.pairs import LABELS, pair

SECTIONS = [
    "overview",
    "accuracy",
    "confusion",
    "signal",
    "layers",
    "latency",
    "memory",
    "search",
    "ranges",
    "origin",
]
_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, text by section, and whether all were closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self._open, self._section = [], {}, [], ""
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "section":
            self._section = dict(attributes)["id"]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text[self._section] = self.text.get(self._section, "") + data

    def tags(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Everything there can be in a record, with the labels of somebody who means harm."""
    both, blobs = pair(tmp_path_factory.mktemp("pair"))
    y = both.float32.answers["scores"].reshape(40, 10).argmax(axis=1)
    y[::9] = (y[::9] + 1) % 10
    truth = Truth("classification", y, LABELS, np.zeros((40, 0), np.float32))
    spec = both.float32.manifest.inputs[0]
    candidates = (
        CandidateFigures("int8 everywhere", 1_234_567, 0.25, 0.4, on_front=True, chosen=True),
        CandidateFigures("<b>int4</b>", 800_000, None, 1.9, on_front=True, chosen=False),
        CandidateFigures("hopeless", 700_000, 0.5, 70.0, on_front=False, chosen=False),
    )
    return msgspec.structs.replace(
        record_of(both, blobs, SilentProgress()),
        judged=judged_of(truth, "evaluation", "scores", both),
        looks=(
            distribution_of("calibration", spec, both.samples[:20]),
            distribution_of("evaluation", spec, both.samples),
        ),
        candidates=candidates,
        notes=("a note & <i>another</i>",),
    )


@pytest.fixture(scope="module")
def html(record):
    return render(record)


def test_every_section_is_there_and_linked(html):
    page = Page(html)
    assert [section["id"] for section in page.tags("section")] == SECTIONS
    assert [link["href"] for link in page.tags("a")] == [f"#{key}" for key in SECTIONS]
    assert not any("Left out" in page.text[key] for key in SECTIONS)


def test_nothing_is_fetched_from_anywhere(html):
    assert "http:" not in html
    assert "https:" not in html
    page = Page(html)
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith("#")
    assert not {"script", "link", "img", "iframe", "object", "image"} & {tag for tag, _ in page.elements}
    assert "@import" not in html
    assert all(target.startswith("url(#") for target in re.findall(r"url\([^)]*", html))


def test_labels_are_text_never_markup(html):
    page = Page(html)
    assert LABELS[0] in page.text["accuracy"]
    assert "<b>int4</b>" in page.text["search"]
    assert "<i>another</i>" in page.text["origin"]
    assert not page.tags("script")
    assert not page.tags("b")
    assert not page.tags("i")
    assert "$\\frac{1}{$" in page.text["confusion"], "no formula, even in a chart"


def test_figures_stand_in_the_page_with_their_intervals(html, record):
    page, judged = Page(html), record.judged
    assert f"{judged.bundle.accuracy * 100:.2f} %" in page.text["accuracy"]
    low, high = judged.bundle.interval
    assert f"({low * 100:.2f} … {high * 100:.2f})" in page.text["accuracy"]
    assert f"{judged.comparison.drop_points.value:+.2f}" in page.text["overview"]
    assert f"p = {judged.comparison.p:.3g}" in page.text["accuracy"]
    assert f"{record.bundle.bytes:,}" in page.text["memory"]
    assert f"{record.signals[0].snr_db:.1f} dB" in page.text["signal"]
    assert f"{record.latencies.by_threads[0].bundle.p99_ms:.3f}" in page.text["latency"]
    assert "1,234,567" in page.text["search"]
    assert record.layers.layers[0].name in page.text["layers"]


def test_every_chart_is_drawn_and_said_in_words(html):
    page = Page(html)
    assert len(page.tags("svg")) == 5
    assert all(figure["aria-label"] for figure in page.tags("figure"))
    assert "currentColor" in html, "ink that suits a dark page as well"
    for marker in ("#010203", "#040506"):
        assert marker not in html


def test_the_same_record_gives_the_same_page(html, record):
    assert render(record) == html


def test_a_record_of_little_still_has_a_page_that_says_so(tmp_path):
    both, blobs = pair(tmp_path, 4)
    record = record_of(Pair(None, both.bundle, both.samples, "noise"), blobs, SilentProgress())
    page = Page(render(msgspec.structs.replace(record, not_judged="the data hold no 'y'")))
    assert [section["id"] for section in page.tags("section")] == SECTIONS
    assert "Not measured: the data hold no 'y'" in page.text["accuracy"]
    for key in ("confusion", "signal", "layers", "search", "ranges"):
        assert "Left out" in page.text[key]


def test_many_classes_are_shown_as_pairs(record):
    y = np.arange(200) % 50
    answers = np.eye(50, dtype=np.float32)[(y + (np.arange(200) < 20)) % 50]
    truth = Truth("classification", y, tuple(f"kind {n}" for n in range(50)), np.zeros((200, 0), np.float32))
    score = score_of(truth, answers)
    judged = Judged("scores", "evaluation", score, score, compare(truth, answers, answers))
    page = Page(render(msgspec.structs.replace(record, judged=judged)))
    assert "kind 3kind 4" in re.sub(r"\s", "", page.text["confusion"]).replace("kind", "kind ")
    assert len(page.tags("svg")) == 4


@pytest.mark.parametrize(
    ("task", "y", "said"),
    [
        ("regression", np.linspace(0, 1, 40), ["mean absolute error", "root mean squared error", "R²"]),
        ("anomaly", np.arange(40) % 2, ["ROC AUC", "20 of them to be found"]),
    ],
)
def test_other_tasks_have_their_own_figures(record, task, y, said):
    values = np.random.default_rng(0).random((40, 1), dtype=np.float32)
    truth = Truth(task, y, (), np.zeros((40, 9), np.float32))
    score, found = score_of(truth, values), compare(truth, values, values[::-1])
    page = Page(render(msgspec.structs.replace(record, judged=Judged("o", "data", score, score, found))))
    for words in said:
        assert words in page.text["accuracy"]
    assert "Left out" in page.text["confusion"]


class TestWriting:
    def test_both_files_are_written_and_json_is_the_record(self, record, html, tmp_path):
        folder = tmp_path / "some" / "report"
        write_report(folder, record)
        assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
        assert (folder / "report.html").read_text(encoding="utf-8") == html
        document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert document == json.loads(msgspec.json.encode(whole(record)))
        assert document["judged"]["bundle"]["task"] == "classification"
        assert document["judged"]["bundle"]["classes"][0]["label"] == LABELS[0]

    def test_an_earlier_report_is_replaced_and_what_else_lies_there_is_not(self, record, html, tmp_path):
        for name in ("report.html", "report.json", "mine.txt"):
            (tmp_path / name).write_text("earlier")
        write_report(tmp_path, record)
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
        assert (tmp_path / "mine.txt").read_text() == "earlier"

    def test_a_file_in_the_folders_place_is_refused(self, record, tmp_path):
        path = tmp_path / "report"
        path.write_text("mine")
        with pytest.raises(UsageError, match="is a file"):
            check_folder(path)
        with pytest.raises(UsageError, match="is a file"):
            write_report(path, record)
        with pytest.raises(UnavailableError, match="cannot write"):
            write_report(path / "below", record)
        assert path.read_text() == "mine"
