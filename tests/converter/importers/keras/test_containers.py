"""A Keras file takes nothing from other files, and expands to no more than a model is."""

import json
import stat
import zipfile

import h5py
import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.importers.keras.configuration import refuse_code
from maas_converter.importers.keras.containers import refuse_hdf5

CONFIGURATION = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
MEGABYTES_16 = 1 << 22
"""Numbers of four bytes."""


@pytest.fixture
def secret(tmp_path):
    """A file that is not the model's."""
    path = tmp_path / "secret"
    path.write_bytes(b"the key " * 8)
    return path


def external(group, secret):
    """A dataset whose numbers are another file's bytes."""
    group.create_dataset("kernel", (16,), "f4", external=[(str(secret), 0, 64)])


def linked(group, secret):
    """An object of another file."""
    group["kernel"] = h5py.ExternalLink(str(secret), "/kernel")


def virtual(group, secret):
    """A dataset that is made of those of other files."""
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "kernel", shape=(16,))
    group.create_virtual_dataset("kernel", layout)


def swollen(group, secret):
    """Zeros that nobody wrote."""
    group.create_dataset("kernel", (1 << 40,), "f4", chunks=(1 << 20,))


def many(group, secret):
    """Sixty-four gigabytes of them, each of a size that deflate may come to."""
    for number in range(5000):
        group.create_dataset(f"kernel{number}", (MEGABYTES_16,), "f4", chunks=(1 << 16,))


HOSTILE = {
    external: r"'/layers/dense/kernel' takes its numbers from another file, '.*secret'",
    linked: r"its 'kernel' is in another file, '.*secret'",
    virtual: r"'/layers/dense/kernel' takes its numbers from another file, '.*secret'",
    swollen: r"expands from 0 bytes to 4,398,046,511,104",
    many: r"expands to more than 8 GiB",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_weights_that_are_not_in_the_file_are_not_looked_for_elsewhere(make, kind, secret, tmp_path):
    weights = tmp_path / "weights.h5"
    with h5py.File(weights, "w") as file:
        file.attrs["model_config"] = CONFIGURATION
        group = file.create_group("layers/dense")
        group["again"] = file["layers"]  # a circle is no trouble
        group["soft"] = h5py.SoftLink("/nowhere")
        make(group, secret)
    source = weights
    if kind == "keras":
        source = tmp_path / "model.keras"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("config.json", CONFIGURATION)
            archive.write(weights, "model.weights.h5")
    for trust in (False, True):
        with pytest.raises(DataError, match=HOSTILE[make]):
            refuse_code(source, trust=trust)


def test_weights_as_keras_packs_them_are_left_alone(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layers/dense/kernel"] = np.ones((4, 3), np.float32)
        file.create_dataset("layers/dense/zeros", data=np.zeros(1 << 23, np.float32), compression="gzip")
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
        file["nothing"] = h5py.Empty("f4")
    refuse_hdf5(tmp_path / "weights.h5")


def _archive(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", CONFIGURATION)
        for name, mode, compression in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "x", compression)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "compression", "words"),
    [
        ("assets/../../evil", 0, zipfile.ZIP_STORED, "leads outside it"),
        ("/etc/cron.d/evil", 0, zipfile.ZIP_STORED, "leads outside it"),
        ("assets\\..\\evil", 0, zipfile.ZIP_STORED, "leads outside it"),
        ("assets/link", stat.S_IFLNK | 0o777, zipfile.ZIP_STORED, "leads outside it"),
        ("assets/bomb", 0, zipfile.ZIP_LZMA, "compressed in another way"),
    ],
)
def test_an_archive_that_leads_elsewhere(name, mode, compression, words, tmp_path):
    with pytest.raises(DataError, match=words):
        refuse_code(_archive(tmp_path / "model.keras", (name, mode, compression)), trust=True)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_of_two_files_of_one_name(tmp_path):
    with pytest.raises(DataError, match="two files of one name"):
        refuse_code(_archive(tmp_path / "model.keras", *[("a", 0, zipfile.ZIP_STORED)] * 2), trust=True)


def test_an_archive_that_says_it_expands_to_gigabytes(tmp_path):
    source = _archive(tmp_path / "model.keras", *((f"assets/{number}", 0, zipfile.ZIP_STORED) for number in range(3)))
    data = bytearray(source.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last three entries of the directory
    for _ in range(3):
        data[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
        at = data.rindex(b"PK\x01\x02", 0, at)
    source.write_bytes(data)
    with pytest.raises(DataError, match="expands to more than 8 GiB"):
        refuse_code(source, trust=True)
