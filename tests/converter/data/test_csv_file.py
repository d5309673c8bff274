"""Tables of samples: what a column is, and where something is wrong."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.errors import DataError, NoInputError
from maas_converter.data.dataset import StoredSamples
from maas_converter.data.formats import load

BAD = {
    "nothing": ("", "is empty"),
    "only a header": ("a,b,label\n", "only a header"),
    "only a label": ("label\ncrane\n", "no features"),
    "a word": ("a,b\n1,2\n3,x\n", "line 3, column 'b': 'x', where a finite number belongs"),
    "an empty cell": ("a,b\n1,2\n,4\n", "line 3, column 'a': empty"),
    "nan": ("a,b\n1,nan\n", "line 2, column 'b': 'nan'"),
    "infinity": ("1,2\n1,inf\n", "line 2, column '2': 'inf'"),
    "too large": ("1,2\n1,1e999\n", "line 2, column '2': '1e999'"),
    "a decimal comma": ("a;b\n1;2,5\n", "line 2, column 'b': '2,5'"),
    "a short row": ("a,b\n1,2\n\n3\n", "line 4: 1 cells, the first row has 2"),
    "a long row": ("1,2\n1,2,3\n", "line 2: 3 cells"),
    "an index": (",a\n0,1\n", "column 1 has no name"),
    "two columns of one name": ("a,a\n0,1\n", "two columns are called 'a'"),
    "two answers": ("a,y,label\n0,1,x\n", "the columns y and label"),
    "no class": ("a,label\n0,x\n1,\n", "line 3, column 'label': empty"),
    "y that is no number": ("a,y\n0,x\n", "line 2, column 'y': 'x'"),
    "an open quote": ('a,b\n1,"2\n', "line 2"),
    "no text": (b"a,b\n\xff,2\n", "no UTF-8 text, from byte 4 on"),
}


def write(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_line_and_column(case, tmp_path):
    text, words = BAD[case]
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, text))
    assert words in str(caught.value)
    assert "data.csv" in str(caught.value)


GOOD = {
    "header": "a,b,y\n1,2.5,0\n-3,4e1,1\n",
    "spreadsheet": "\ufeffa;b;y\r\n1;2.5;0\r\n-3;4e1;1\r\n",
    "tabulators": "a\tb\ty\n1\t2.5\t0\n-3\t4e1\t1\n",
    "y first, blanks, empty lines": "\n Y , a , b \n0, 1 , 2.5\n\n1,-3, 4e1\n\n",
    "quotes": '"a","the b, as it is","y"\n"1","2.5","0"\n"-3","4e1","1"\n',
    "no line break at the end": "a,b,y\n1,2.5,0\n-3,4e1,1",
}


@pytest.mark.parametrize("case", GOOD)
def test_columns_but_y_are_the_sample_in_their_order(case, tmp_path):
    dataset = load(write(tmp_path, GOOD[case]))
    assert isinstance(dataset.source, StoredSamples)
    assert dataset.source.x.tolist() == [[1, 2.5], [-3, 40]]
    assert dataset.y is not None and dataset.y.tolist() == [0, 1]
    assert dataset.classes == () and not dataset.by_name
    assert dataset.sample_dtype == "float32"


def test_without_a_header_every_column_is_of_the_sample(tmp_path):
    dataset = load(write(tmp_path, "1,2,3\n4,5,6\n", "data.tsv"))
    assert isinstance(dataset.source, StoredSamples)
    assert dataset.source.x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert dataset.y is None


def test_labels_are_names_of_classes(tmp_path):
    path = write(tmp_path, "label,a\nheron,1\ncrane,2\nheron,3\n")
    dataset = load(path)
    assert dataset.y is not None and dataset.y.tolist() == [1, 0, 1]
    assert dataset.classes == ("crane", "heron") and dataset.by_name
    other = load(path, ("heron", "stork", "crane"))
    assert other.y is not None and other.y.tolist() == [0, 2, 0]


def test_targets_may_be_fractions(tmp_path):
    dataset = load(write(tmp_path, "a,y\n1,0.25\n2,-7\n"))
    assert dataset.y is not None
    np.testing.assert_array_equal(dataset.y, [0.25, -7])


def test_what_is_not_there_is_no_input(tmp_path):
    with pytest.raises(NoInputError):
        load(tmp_path / "none.csv")


def test_a_header_is_read_in_time_that_grows_with_its_length(tmp_path: Path) -> None:
    """Each column was looked for among all others: 100,000 of them took a minute."""
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{number}" for number in range(100_000)) + "\n" + ",".join(["1"] * 100_000) + "\n")
    assert load(path).count == 1
