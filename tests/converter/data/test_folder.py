"""Folders of pictures and recordings, decoded as a device decodes them."""

import os
import shutil
import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError
from maas_agent.processing.decode import decode
from maas_converter.data.dataset import SampleFiles, classes_of, samples_of, targets_of
from maas_converter.data.formats import load

GRAY = Decode((8, 8, 1), "uint8", color="gray")
SOUND = Decode((8000,), "float32", sample_rate=8000)
RECORDINGS = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "fsdd"


def picture(path, level, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, level, np.uint8)).save(path, **options)
    return path


def recording(path, level=0.25):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.full(8000, level * 32768, "<i2").tobytes())
    return path


@pytest.fixture
def birds(tmp_path):
    """Two cranes of level 10 and 20, a heron of 30."""
    folder = tmp_path / "birds"
    picture(folder / "crane" / "2.png", 20)
    picture(folder / "crane" / "1.PNG", 10, format="PNG")
    picture(folder / "heron" / "1.jpg", 30, quality=100)
    return folder


def test_class_folders_are_classes_in_the_order_of_their_names(birds):
    dataset = load(birds)
    assert dataset.name == "birds" and dataset.count == 3
    assert dataset.classes == ("crane", "heron") and dataset.by_name
    assert dataset.sample_dtype == "uint8"
    y = classes_of(dataset, 2)
    assert y is not None and y.tolist() == [0, 0, 1]
    samples = samples_of(dataset, GRAY)
    assert samples.shape == (3, 8, 8, 1) and samples.dtype == np.uint8
    assert samples[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_a_class_folder_has_the_number_of_its_label(birds):
    y = classes_of(load(birds, ("heron", "stork", "crane")), 3)
    assert y is not None and y.tolist() == [2, 2, 0]
    with pytest.raises(DataError, match="no labels: heron"):
        load(birds, ("crane", "stork"))


def test_a_picture_is_what_a_device_makes_of_it(tmp_path):
    """Size and colours come from the bundle's decode, by the device's own code."""
    path = picture(tmp_path / "set" / "one" / "1.png", 7, size=(20, 30))
    spec = Decode((4, 5, 3), "uint8", resize="nearest")
    expected = decode(path.read_bytes(), spec, "image/png").samples
    np.testing.assert_array_equal(samples_of(load(tmp_path / "set"), spec), expected)


def test_a_bare_folder_of_files_has_no_classes(tmp_path):
    for number in range(3):
        picture(tmp_path / "set" / f"{number}.png", number)
    dataset = load(tmp_path / "set")
    assert dataset.y is None and dataset.classes == ()
    assert samples_of(dataset, GRAY)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_what_is_hidden_or_left_by_a_file_manager_is_no_sample(birds):
    (birds / ".git").mkdir()
    (birds / ".DS_Store").write_bytes(b"x")
    (birds / "crane" / "Thumbs.db").write_bytes(b"x")
    (birds / "crane" / "._1.png").write_bytes(b"x")
    assert load(birds).count == 3


# ----------------------------------------------------------------- labels.csv


@pytest.fixture
def listed(tmp_path):
    """Four recordings and a way to write their list."""
    folder = tmp_path / "takes"
    for number in range(4):
        recording(folder / f"{number}.wav", number / 10)

    def write(text):
        (folder / "labels.csv").write_text(text)
        return folder

    return write


def test_a_list_gives_each_file_its_class(listed):
    dataset = load(listed("file,label\n3.wav,yes\n0.wav,no\n1.wav,yes\n2.wav,no\n"))
    assert dataset.classes == ("no", "yes")
    y = classes_of(dataset, 2)
    assert y is not None and y.tolist() == [1, 0, 1, 0]
    assert dataset.sample_dtype == "float32" and dataset.notes == ()
    np.testing.assert_allclose(samples_of(dataset, SOUND)[:, 0], [0.3, 0, 0.1, 0.2], atol=1e-4)


def test_a_list_needs_no_header(listed):
    assert load(listed("0.wav,no\n1.wav,yes\n2.wav,no\n3.wav,no\n")).classes == ("no", "yes")


def test_a_list_may_give_numbers_that_a_regression_is_to_give(listed):
    dataset = load(listed("file,y\n0.wav,0.5\n1.wav,-2\n2.wav,1e3\n3.wav,0\n"))
    np.testing.assert_array_equal(targets_of(dataset), np.array([0.5, -2, 1e3, 0], np.float32))
    assert dataset.classes == ()


def test_files_may_lie_in_folders_of_the_folder(tmp_path):
    recording(tmp_path / "set" / "a" / "1.wav")
    (tmp_path / "set" / "labels.csv").write_text("file,label\na/1.wav,yes\n")
    assert load(tmp_path / "set").count == 1


def test_files_that_a_list_leaves_out_are_told_of(listed):
    dataset = load(listed("file,label\n0.wav,no\n1.wav,yes\n"))
    assert dataset.count == 2
    assert len(dataset.notes) == 1 and "leaves out 2 files, such as 2.wav" in dataset.notes[0]


LISTS = {
    "not there": ("0.wav,no\n9.wav,yes\n", "line 2: there is no file"),
    "elsewhere": ("file,label\n../x.wav,no\n", "line 2: '../x.wav' is no name of a file in"),
    "absolute": ("/etc/passwd,no\n", "line 1: '/etc/passwd' is no name"),
    "no name": (",no\n", "line 1: '' is no name"),
    "no class": ("file,label\n0.wav,\n", "line 2: '', where a class belongs"),
    "no number": ("file,y\n0.wav,x\n", "line 2: 'x', where a finite number belongs"),
    "nan": ("file,y\n0.wav,nan\n", "line 2: 'nan'"),
    "twice": ("0.wav,no\n0.wav,yes\n", "names a file twice"),
    "one column": ("0.wav\n", "two columns, file,label or file,y"),
    "three columns": ("file,label,speaker\n0.wav,no,me\n", "two columns"),
    "ragged": ("0.wav,no\n1.wav\n", "line 2: 1 cells"),
    "a folder": (".,no\n", "is no file"),
    "only a header": ("file,label\n", "holds no"),
    "the list itself": ("labels.csv,no\n", "is no sample"),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_is_wrong_in_a_list_is_named(case, listed):
    text, words = LISTS[case]
    with pytest.raises(DataError) as caught:
        load(listed(text))
    assert words in str(caught.value)


# ----------------------------------------------------------------- what is refused


def test_pictures_and_sound_do_not_mix(birds):
    recording(birds / "heron" / "2.wav")
    with pytest.raises(DataError, match=r"1\.PNG and .*2\.wav: pictures and sound"):
        load(birds)


def test_what_a_device_does_not_read_is_refused_by_name(birds):
    (birds / "crane" / "3.heic").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"3\.heic is no sample: devices read \.png, \.jpg"):
        load(birds)


def test_pictures_are_upright_as_pillow_makes_them_or_as_stored(tmp_path):
    """A folder of photos of phones: each lies another way, all of one scene."""
    scene = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    for orientation, kind in ((1, "png"), (3, "webp"), (6, "png"), (8, "tif"), (5, "webp"), (2, "png")):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(scene).convert("RGB")
        options = {"lossless": True} if kind == "webp" else {}
        (tmp_path / "views").mkdir(exist_ok=True)
        stored.save(tmp_path / "views" / f"{orientation}.{kind}", exif=exif, **options)
    views = load(tmp_path / "views")
    for path, sample in zip(views.source.paths, samples_of(views, GRAY), strict=True):
        upright = ImageOps.exif_transpose(Image.open(path)).convert("L")
        np.testing.assert_array_equal(sample[..., 0], np.asarray(upright))
        np.testing.assert_array_equal(sample, decode(path.read_bytes(), GRAY).samples[0])
    as_stored = samples_of(views, msgspec.structs.replace(GRAY, orientation="stored"))
    assert all((sample[..., 0] == scene).all() for sample in as_stored)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "tif", "tiff"])
def test_pictures_of_every_kind_are_samples(birds, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    picture(birds / "crane" / f"3.{suffix}", 77, **options)
    assert samples_of(load(birds), GRAY)[2].tolist() == np.full((8, 8, 1), 77).tolist()


def test_what_is_transparent_lies_over_the_background(tmp_path):
    (tmp_path / "views").mkdir()
    Image.fromarray(np.full((8, 8, 2), (100, 0), np.uint8), "LA").save(tmp_path / "views" / "1.png")
    views = load(tmp_path / "views")
    assert set(samples_of(views, msgspec.structs.replace(GRAY, background=(255, 255, 255))).reshape(-1)) == {255}
    assert set(samples_of(views, GRAY).reshape(-1)) == {100}


def test_a_file_beside_class_folders_is_refused(birds):
    picture(birds / "stray.png", 1)
    with pytest.raises(DataError, match=r"stray\.png lies beside class folders"):
        load(birds)


def test_empty_folders_are_refused(birds, tmp_path):
    (birds / "stork").mkdir()
    with pytest.raises(DataError, match="stork is empty"):
        load(birds)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no"):
        load(tmp_path / "none")


def test_links_to_itself_and_pipes_are_refused_and_not_waited_for(birds):
    (birds / "crane" / "loop.png").symlink_to("loop.png")
    with pytest.raises(DataError, match=r"loop\.png is no file"):
        load(birds)
    (birds / "crane" / "loop.png").unlink()
    os.mkfifo(birds / "crane" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is no file"):
        load(birds)


def test_a_folder_that_leads_to_itself_is_not_followed(birds):
    (birds / "crane" / "again").symlink_to(birds)
    with pytest.raises(DataError, match="again is no file"):
        load(birds)


@pytest.mark.parametrize("name", ["crane/2.png", "heron/1.jpg"])
def test_a_damaged_picture_is_refused_by_name(birds, name):
    path = birds / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=rf"{path.name}: damaged or truncated"):
        samples_of(load(birds), GRAY)


def test_a_damaged_recording_is_refused_by_name(listed):
    folder = listed("0.wav,no\n1.wav,yes\n")
    (folder / "1.wav").write_bytes((folder / "1.wav").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"1\.wav: no readable recording: it is cut short"):
        samples_of(load(folder), SOUND)


def test_a_model_of_something_else_is_refused(birds, listed):
    with pytest.raises(DataError, match="is no image"):
        samples_of(load(birds), Decode((64,), "float32"))
    with pytest.raises(DataError, match="takes no sound"):
        samples_of(load(listed("0.wav,no\n1.wav,yes\n")), GRAY)


# ----------------------------------------------------------------- digest


def test_the_digest_is_of_names_labels_and_contents_and_not_of_the_place(birds, tmp_path):
    before = load(birds).sha256
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(birds, copy)
    assert load(copy).sha256 == before
    (copy / "crane" / "2.png").rename(copy / "crane" / "3.png")
    assert load(copy).sha256 != before
    (copy / "crane" / "3.png").rename(copy / "heron" / "2.png")
    assert load(copy).sha256 != before
    picture(birds / "crane" / "2.png", 21)
    assert load(birds).sha256 != before


def test_the_digest_covers_the_answers_of_a_list_and_not_their_order(listed):
    one = load(listed("0.wav,no\n1.wav,yes\n")).sha256
    assert load(listed("file,label\n1.wav,yes\n0.wav,no\n")).sha256 == one
    assert load(listed("0.wav,yes\n1.wav,yes\n")).sha256 != one


def test_real_recordings_by_class_folder(tmp_path):
    if not RECORDINGS.is_dir():
        pytest.skip("no ../shared/data: no real recordings")
    for path in sorted(RECORDINGS.glob("*.wav"))[::12]:
        target = tmp_path / "digits" / path.name[0] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    dataset = load(tmp_path / "digits")
    assert isinstance(dataset.source, SampleFiles)
    assert dataset.classes == tuple("0123456789")
    samples = samples_of(dataset, SOUND)
    y = classes_of(dataset, 10)
    assert y is not None
    for path, number, sample in zip(dataset.source.paths, y, samples, strict=True):
        assert int(path.name[0]) == number
        np.testing.assert_array_equal(decode(path.read_bytes(), SOUND).samples[0], sample)


@pytest.mark.parametrize("named", ["a" * 300, "\0", "a/" * 3000])
def test_a_name_that_no_file_can_have_is_one_that_is_not_there(tmp_path: Path, named: str) -> None:
    (tmp_path / "labels.csv").write_text(f"file,label\n{named},x\n")
    with pytest.raises(DataError, match="there is no file"):
        load(tmp_path)
