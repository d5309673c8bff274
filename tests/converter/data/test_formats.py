"""Which data are read, and which are not."""

import pytest

from maas_agent.errors import DataError, NoInputError
from maas_converter.data.formats import load


def test_what_is_not_read_is_refused_with_what_is(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"a \.npz file, a \.csv file, a \.tsv file or a folder of PNG, JPEG or WAV"):
        load(path)


def test_what_is_not_there_is_no_input(tmp_path):
    with pytest.raises(NoInputError):
        load(tmp_path / "none.npz")
    with pytest.raises(NoInputError):
        load(tmp_path / "none")


def test_a_folder_is_a_folder_whatever_it_is_called(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="holds no"):
        load(tmp_path / "folder.npz")
