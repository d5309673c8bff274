"""Train a small CNN on scikit-learn's 1,797 scanned digits, and write the data files the converter reads.

    python train.py FOLDER --epochs 3 --model digits-1.0.0.keras

The split is fixed by a seed: 1,000 digits to train with, 200 to calibrate, 400 to evaluate, 197 held out.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

SEED = 7
SPLIT = {"train": 1000, "calibration": 200, "evaluation": 400, "heldout": 197}


def split_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (N, 8, 8, 1) uint8, 0 to 255, and their classes, by the names in ``SPLIT``."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    order = np.random.default_rng(SEED).permutation(len(images))
    parts, start = {}, 0
    for name, size in SPLIT.items():
        rows = order[start : start + size]
        parts[name] = (images[rows], digits.target[rows])
        start += size
    return parts


def train(images: np.ndarray, classes: np.ndarray, epochs: int, path: Path) -> None:
    """Fit the network for so many epochs and save it in Keras 3's format."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(16, 3, padding="same", strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images.astype(np.float32) / 255, classes, batch_size=32, epochs=epochs, verbose=0)
    model.save(path)


def main() -> None:
    """Write the data files and one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", default="digits.keras")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = split_digits()
    for name in ("calibration", "evaluation", "heldout"):
        x, y = parts[name]
        np.savez(options.folder / f"{name}.npz", x=x, y=y, classes=np.array([str(digit) for digit in range(10)]))
    train(*parts["train"], options.epochs, options.folder / options.model)


if __name__ == "__main__":
    main()
