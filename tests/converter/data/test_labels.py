"""Names of classes: the labels file, and which number a name has."""

from pathlib import Path

import pytest

from maas_agent.errors import DataError, NoInputError
from maas_converter.data.labels import numbered, read_labels


@pytest.mark.parametrize(("text", "words"), [("", "no labels"), ("a\n\nb\n", "line 2"), ("\n", "no labels")])
def test_labels_without_a_name_are_refused(text, words, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_labels(path)


def test_labels_keep_their_order_and_may_repeat(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("crane\n  heron \ncrane\n\n")
    assert read_labels(path) == ("crane", "heron", "crane")


def test_labels_that_are_no_text_or_not_there_are_refused(tmp_path):
    (tmp_path / "labels.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_labels(tmp_path / "labels.bin")
    with pytest.raises(NoInputError):
        read_labels(tmp_path / "none.txt")


def test_without_labels_names_are_numbered_in_their_order(tmp_path):
    y, classes = numbered(tmp_path, ["heron", "crane", "heron", "stork"], ())
    assert y.tolist() == [1, 0, 1, 2]
    assert classes == ("crane", "heron", "stork")


def test_with_labels_a_name_has_the_number_of_its_line(tmp_path):
    y, classes = numbered(tmp_path, ["heron", "crane"], ("stork", "heron", "crane"))
    assert y.tolist() == [1, 2]
    assert classes == ("stork", "heron", "crane")


def test_a_name_that_is_no_label_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(DataError, match=r"no labels: stork; labels are crane, heron"):
        numbered(tmp_path, ["stork", "crane"], ("crane", "heron"))


def test_a_name_with_two_lines_has_no_number(tmp_path):
    with pytest.raises(DataError, match="'crane' has two lines"):
        numbered(tmp_path, ["crane"], ("crane", "heron", "crane"))
    assert numbered(tmp_path, ["heron"], ("crane", "heron", "crane"))[0].tolist() == [1]


def test_numbers_as_names_are_refused_where_their_order_is_open(tmp_path):
    """Sorted as text, "10" comes before "2": some libraries number class folders so, others do not."""
    ten = [str(number) for number in range(10)]
    assert numbered(tmp_path, ten, ())[0].tolist() == list(range(10))
    with pytest.raises(DataError, match="--labels"):
        numbered(tmp_path, [*ten, "10"], ())
    assert numbered(tmp_path, [*ten, "10"], (*ten, "10"))[0].tolist() == list(range(11))


def test_classes_are_numbered_in_time_that_grows_with_their_number() -> None:
    """Each was looked for among all others: 100,000 took minutes. And a number of 5,000 digits was a traceback."""
    names = [f"class {number}" for number in range(100_000)]
    y, classes = numbered(Path("data.csv"), names, ())
    assert (len(y), len(classes)) == (100_000, 100_000)
    with pytest.raises(DataError, match="called by numbers"):
        numbered(Path("data.csv"), ["9", "1" + "0" * 5000], ())
    assert numbered(Path("data.csv"), ["1", "2", "9" * 5000], ())[1] == ("1", "2", "9" * 5000)
