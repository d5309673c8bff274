"""Makes specimens: ``python -m tests.zoo.breed FOLDER NAME…``, all of one framework, in a process of its own.

Each gets a folder with the model as its framework saves it, the data it is converted with, and ``source.npz``: what
its own framework answers to the evaluation samples, output by output in the source's order and by its names.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo.collection import ZOO
from tests.zoo.specimens import CALIBRATION, EVALUATION, Array, Specimen

Answers = dict[str, Array]


def breed(specimen: Specimen, folder: Path) -> None:
    """Make, save and ask one specimen."""
    _seed(specimen)
    calibration = specimen.feed.samples(specimen.seed + 1, CALIBRATION)
    evaluation = specimen.feed.samples(specimen.seed + 2, EVALUATION)
    folder.mkdir()
    answers = _SAVED[specimen.framework](specimen, folder, evaluation)
    np.savez(folder / "calibration.npz", x=calibration)
    np.savez(folder / "evaluation.npz", **{"x": evaluation} | _truth(answers, specimen))  # type: ignore[arg-type]
    np.savez(folder / "source.npz", **answers)  # type: ignore[arg-type]
    (folder / "outputs.txt").write_text("\n".join(answers))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in specimen.labels))


def _truth(answers: Answers, specimen: Specimen) -> Answers:
    """``y``, as the source answers: the class of probabilities, else its values; none where there are several."""
    if len(answers) != 1:
        return {}
    values = np.asarray(next(iter(answers.values())))
    if values.ndim == 2 and values.shape[1] > 1 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return {"y": values.argmax(axis=1)}
    if len(specimen.labels) == 2 and values.shape[1:] == (1,):  # a probability of the second of two classes
        return {"y": (values[:, 0] > 0.5).astype(np.int64)}
    return {"y": values.astype(np.float32)} if values.ndim == 2 and values.dtype.kind == "f" else {}


def _of_keras(specimen: Specimen, folder: Path, x: Array) -> Answers:
    import keras

    model = _stirred(specimen.make(), specimen)
    target = folder / f"model{specimen.form or '.keras'}"
    if specimen.form == "saved_model":
        model.export(folder / "model", verbose=False)
    else:
        model.save(target)
    names = getattr(model, "output_names", None) or ["output"]
    return _named(model(keras.ops.convert_to_tensor(x), training=False), names)


def _of_tf_keras(specimen: Specimen, folder: Path, x: Array) -> Answers:
    import tensorflow as tf

    model = _stirred(specimen.make(), specimen)
    if specimen.form == "saved_model":
        model.save(folder / "model", save_format="tf")
    else:
        model.save(folder / f"model{specimen.form or '.h5'}")
    return _named(model(tf.constant(x), training=False), list(model.output_names))


def _of_tensorflow(specimen: Specimen, folder: Path, x: Array) -> Answers:
    import tensorflow as tf

    module = specimen.make()
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.serve})
    rows = [module.serve(tf.constant(sample[None])) for sample in x]
    if rows[0][next(iter(rows[0]))].dtype == tf.string:
        return {}
    return {name: np.concatenate([row[name].numpy() for row in rows]) for name in sorted(rows[0])}


def _of_tflite(specimen: Specimen, folder: Path, x: Array) -> Answers:
    """The file itself is the source: a plain interpreter's answers, a batch of one, as real values."""
    from ai_edge_litert.interpreter import Interpreter

    data = specimen.make()
    (folder / "model.tflite").write_bytes(data)
    interpreter = Interpreter(model_content=data)
    taken, made = interpreter.get_input_details()[0], interpreter.get_output_details()
    batch = max(1, int(taken["shape"][0]))
    interpreter.allocate_tensors()
    rows = []
    for sample in x:
        interpreter.set_tensor(taken["index"], np.repeat(_stored(sample[None], taken), batch, axis=0))
        interpreter.invoke()
        rows.append([_real(interpreter.get_tensor(detail["index"]), detail)[:1] for detail in made])
    return {f"output_{at}": np.concatenate([row[at] for row in rows]) for at in range(len(made))}


def _stored(values: Array, detail: Any) -> Array:
    scale, zero_point = detail["quantization"]
    if not scale or detail["dtype"] == np.float32:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale + zero_point), limits.min, limits.max).astype(detail["dtype"])


def _real(values: Array, detail: Any) -> Array:
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * scale if scale else values


def _named(answers: Any, names: list[str]) -> Answers:
    if isinstance(answers, dict):
        return {name: _array(values) for name, values in answers.items()}
    several = answers if isinstance(answers, list | tuple) else [answers]
    return {name: _array(values) for name, values in zip(names, several, strict=True)}


def _array(values: Any) -> Array:
    """NumPy has no bfloat16, and a file of arrays no word for it."""
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _stirred(model: Any, specimen: Specimen) -> Any:
    """Weights as after training: biases and statistics that are not all 0 and 1. Constants stay what they are."""
    random = np.random.default_rng(specimen.seed)
    for layer in model._flatten_layers():
        for weight in [] if "output" in specimen.name else getattr(layer, "weights", []):
            name = weight.name.rpartition("/")[2].partition(":")[0]
            if name in ("bias", "beta", "moving_mean", "alpha"):
                weight.assign(random.normal(0, 0.2, weight.shape).astype("float32"))
            elif name in ("gamma", "moving_variance"):
                weight.assign(random.uniform(0.5, 1.5, weight.shape).astype("float32"))
    return model


def _seed(specimen: Specimen) -> None:
    if specimen.framework == "tf_keras":
        import tf_keras

        tf_keras.utils.set_random_seed(specimen.seed % (1 << 31))
    else:
        import keras

        keras.utils.set_random_seed(specimen.seed % (1 << 31))


_SAVED: dict[str, Callable[[Specimen, Path, Array], Answers]] = {
    "keras": _of_keras,
    "tf_keras": _of_tf_keras,
    "tensorflow": _of_tensorflow,
    "tflite": _of_tflite,
}


def main() -> None:
    """Make those that the arguments name; one that its own framework cannot make ends it, with its name."""
    folder, *names = sys.argv[1:]
    for name in names:
        try:
            breed(ZOO[name], Path(folder) / name)
        except Exception as error:
            raise RuntimeError(f"{name} cannot be made") from error
    sys.stderr.flush()
    os._exit(0)  # no framework's clean-up


if __name__ == "__main__":
    main()
