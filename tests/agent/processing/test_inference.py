"""Open Inference Protocol requests to tensors; the way from payload to request is in test_decode.py."""

from typing import Any

import numpy as np
import pytest

from maas_agent.errors import DecodeError
from maas_agent.processing.inference import DATATYPES, OpenInferenceRequest, RequestInput, numbers, request_tensor


def request(shape: tuple[int, ...], data: list[Any], datatype: str = "FP32") -> OpenInferenceRequest:
    return OpenInferenceRequest(inputs=(RequestInput("x", shape, datatype, data),))


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_of_the_protocol_is_read(datatype: str) -> None:
    np.testing.assert_array_equal(request_tensor(request((2, 1), [0, 1], datatype)), [[0], [1]])


@pytest.mark.parametrize("datatype", ["BYTES", "UINT16x", "fp32", "", "float32"])
def test_another_datatype_is_refused_with_those_that_are_read(datatype: str) -> None:
    with pytest.raises(DecodeError, match=r"BOOL.*FP64") as refused:
        request_tensor(request((1,), [0], datatype))
    assert refused.value.code == "wrong_dtype"


def test_data_may_be_flat_or_nested_row_major() -> None:
    expected = [[1, 2, 3], [4, 5, 6]]
    assert request_tensor(request((2, 3), [1, 2, 3, 4, 5, 6])).tolist() == expected
    assert request_tensor(request((2, 3), expected)).tolist() == expected


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["1"], "wrong_dtype"),
        ([1, "1"], "wrong_dtype"),
        ([[1], ["1"]], "wrong_dtype"),
        ([None], "wrong_dtype"),
        ([{}], "wrong_dtype"),
        ([1 << 64], "wrong_dtype"),
        ([[1, 2], [3]], "wrong_shape"),
        ([[1], 2], "wrong_shape"),
        ([1, [2]], "wrong_shape"),
        ([[[1]], [2]], "wrong_shape"),
    ],
    ids=str,
)
def test_rows_that_are_no_array_of_numbers_are_refused(rows: list[Any], code: str) -> None:
    with pytest.raises(DecodeError) as refused:
        numbers(rows)
    assert refused.value.code == code


def test_numbers_keep_their_shape_and_kind() -> None:
    assert numbers([[1], [2]]).shape == (2, 1)
    assert [numbers(rows).dtype.kind for rows in ([1], [1.5], [True], [1, 1.5], [True, 1])] == [*"ifbfi"]
    assert numbers([]).size == 0
