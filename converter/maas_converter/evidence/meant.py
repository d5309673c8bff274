"""What a data set's ``y`` means for a model: other ways to write class numbers, and which class is to be found."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.data.dataset import Dataset

_NORMAL = {"normal", "good", "ok", "okay", "nominal", "healthy", "regular", "fine", "pass", "passed", "inlier", "clean"}
_FOUND = {"anomaly", "anomalous", "abnormal", "bad", "defect", "defective", "faulty", "fault", "broken", "outlier"}

Form = Literal["one-hot", "soft", "several", "numbers", "other"]


def meant(dataset: Dataset, size: int, asked: str | None) -> Dataset:
    """``dataset`` with class numbers where ``y`` writes them otherwise, and a note that says so.

    ``size`` is how many values the model's one output has; ``asked`` is what ``--task`` says.
    """
    y = dataset.y
    if y is None or dataset.by_name or asked == "regression":
        return dataset
    classes = 2 if size == 1 and y.size == 2 * len(y) else size
    form = form_of(y, classes)
    if form == "one-hot" or (form == "soft" and asked == "classification"):
        numbers = y.reshape(len(y), -1).argmax(axis=1)
        how = "one-hot: taken as class numbers" if form == "one-hot" else "probabilities: the highest is the class"
        return _with(dataset, numbers, f"'y' {list(y.shape)} is {how}")
    if form == "soft":
        return _with(
            dataset,
            y,
            "'y' are probabilities: judged by how far scores are from them; --task classification "
            "takes the highest as the class",
        )
    if form == "several":
        return _with(dataset, y, several_told(y))
    if form == "numbers":
        return _numbered(dataset, y, size)
    return dataset


def several_told(y: NDArray[np.generic]) -> str:
    """The sentence about samples (N, classes) that have several classes, or none."""
    shares = y.reshape(len(y), -1).astype(np.float64)
    return (
        f"'y' {list(y.shape)} names several labels a sample ({shares.sum(axis=1).mean():.2f} on average): judged by "
        "the error of the scores, and by how many labels are right at the threshold"
    )


def form_of(y: NDArray[np.generic], classes: int) -> Form:
    """How ``y`` (N, …) says which of ``classes`` a sample is."""
    if y.size == len(y):
        flat = y.reshape(-1)
        return "numbers" if np.array_equal(flat, np.rint(flat)) else "other"
    if classes < 2 or y.size != len(y) * classes:
        return "other"
    rows = y.reshape(len(y), classes).astype(np.float64)
    if rows.min() < 0 or rows.max() > 1:
        return "other"
    sums = np.abs(rows.sum(axis=1) - 1)
    if not np.isin(rows, (0, 1)).all():
        return "soft" if (sums < 1e-3).all() else "other"
    return "one-hot" if (sums == 0).all() else "several"


def found_second(dataset: Dataset) -> Dataset:
    """``dataset`` with 1 for what is to be found: turned round where names say that 0 is it."""
    names = [name.strip().casefold() for name in dataset.classes]
    if dataset.y is None or len(names) != 2:
        return dataset
    if not (names[1] in _NORMAL or names[0] in _FOUND) or names[0] in _NORMAL or names[1] in _FOUND:
        return dataset
    first, second = dataset.classes
    note = f"{first!r} is what is to be found, and {second!r} normal: by their names"
    turned = msgspec.structs.replace(dataset, classes=(second, first))
    return _with(turned, 1 - dataset.y.astype(np.int64), note)


def names_anomalies(names: tuple[str, ...]) -> bool:
    """Whether two names are those of normal samples and of others."""
    plain = [name.strip().casefold() for name in names]
    return len(plain) == 2 and any(name in _NORMAL for name in plain) and not all(name in _NORMAL for name in plain)


def _numbered(dataset: Dataset, y: NDArray[np.generic], size: int) -> Dataset:
    numbers = {int(number) for number in np.unique(y)}
    if numbers == {-1, 1} and size <= 2:
        return _with(dataset, ((y.reshape(-1).astype(np.int64) + 1) // 2), "'y' of -1 and 1 are taken as 0 and 1")
    if size > 1 and min(numbers) == 1 and max(numbers) == size:
        return _with(
            dataset, y.reshape(-1).astype(np.int64) - 1, f"'y' goes from 1 to {size}: class numbers are taken less 1"
        )
    return dataset


def _with(dataset: Dataset, y: NDArray[np.generic], note: str) -> Dataset:
    return msgspec.structs.replace(dataset, y=y, notes=(*dataset.notes, f"{dataset.path.name}: {note}"))
