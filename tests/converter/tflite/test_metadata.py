"""TFLite metadata as TFLite Support writes them: its schema's fields, in FlatBuffers; hostile ones cost a note."""

import io
import random
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from maas_converter.tflite import model as files
from maas_converter.tflite.metadata import Metadata, metadata_of
from tests.converter.tflite.graphs import chain


def _vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values):
    return builder.CreateNumpyVector(np.asarray(values, np.float32))


def _table(builder, fields, slots):
    """A table of ``slots`` fields; ``fields`` are offsets by number, or (``byte``,) for one of 8 bits."""
    builder.StartObject(slots)
    for number, value in fields.items():
        if isinstance(value, tuple):
            builder.PrependUint8Slot(number, value[0], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def metadata_buffer(mean=(127.5,), std=(127.5,), labels=("labels.txt",), kind=2):
    """metadata_schema.fbs: ModelMetadata → SubGraphMetadata → TensorMetadata → ProcessUnit, AssociatedFile."""
    builder = flatbuffers.Builder(1024)
    means, stds = _floats(builder, mean), _floats(builder, std)
    options = _table(builder, {0: means, 1: stds}, 2)
    unit = _table(builder, {0: (1,), 1: options}, 2)
    units = _vector(builder, [unit])
    name = builder.CreateString("image")
    taken = _table(builder, {0: name, 4: units}, 7)
    made = []
    for file in labels:
        called, files_ = builder.CreateString(file), []
        files_.append(_table(builder, {0: called, 2: (kind,)}, 5))
        made.append(_table(builder, {6: _vector(builder, files_)}, 7))
    inputs, outputs = _vector(builder, [taken]), _vector(builder, made)
    graph = _table(builder, {2: inputs, 3: outputs}, 10)
    graphs = _vector(builder, [graph])
    root = _table(builder, {0: name, 3: graphs}, 8)
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def with_metadata(tflite, content, associated=None):
    """``tflite`` with the buffer, and the files in a zip behind it, as TFLite Support packs them."""
    model = files.parse(tflite)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(content, np.uint8)
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [entry]
    packed = io.BytesIO(files.serialize(model))
    packed.seek(0, io.SEEK_END)
    if associated is not None:
        with zipfile.ZipFile(packed, "a") as archive:
            for name, text in associated.items():
                archive.writestr(name, text)
    return packed.getvalue()


LABELS = {"labels.txt": "cat\ndog\ntree\ncar\n"}


def test_normalization_and_labels_are_read():
    found = metadata_of(with_metadata(chain("SOFTMAX"), metadata_buffer((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), LABELS))
    assert (found.mean, found.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert found.labels == {1: ("cat", "dog", "tree", "car")}
    assert found.notes == ()


def test_a_model_without_metadata_says_nothing():
    assert metadata_of(chain("SOFTMAX")) == Metadata()


def test_a_file_of_another_kind_is_no_labels():
    assert metadata_of(with_metadata(chain("SOFTMAX"), metadata_buffer(kind=5), LABELS)).labels == {}


@pytest.mark.parametrize(
    ("associated", "said"),
    [
        (None, "labels.txt"),
        ({"other.txt": "a"}, "there is no file 'labels.txt'"),
        ({"labels.txt": "x" * (1 << 20) + "y"}, "more than 1048576 bytes"),
        ({"labels.txt": "a\n\nb"}, "empty ones"),
        ({"labels.txt": b"\xff\xfe"}, "invalid start byte"),
    ],
)
def test_labels_that_cannot_be_read_cost_a_note(associated, said):
    found = metadata_of(with_metadata(chain("SOFTMAX"), metadata_buffer(), associated))
    assert found.labels == {} and said in found.notes[0]
    assert found.mean == (127.5,)


def test_a_normalization_that_divides_by_nothing_is_none():
    assert metadata_of(with_metadata(chain("SOFTMAX"), metadata_buffer(std=(0.0,)), LABELS)).mean == ()


def test_hostile_metadata_end_in_a_note_or_in_nothing():
    good, draw = metadata_buffer(), random.Random(1)
    noted = 0
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        cut = bytes(damaged[: draw.randrange(8, len(damaged) + 1)])
        noted += bool(metadata_of(with_metadata(chain("SOFTMAX"), cut)).notes)
    assert noted > 100
