"""Trains a small network of Keras on the digits and exports it as Keras does: the file, and its own answers.

Run as `python keras_digits.py FOLDER` in a process of its own, since Keras warns of its own and sets
PyTorch's defaults.
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
digits = load_digits()
grey = np.rint(digits.images * (255 / 16)).astype(np.float32)[..., np.newaxis]
keras.utils.set_random_seed(0)
network = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Rescaling(1 / 127.5, offset=-1),
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
network.compile("adam", "sparse_categorical_crossentropy")
network.fit(grey, digits.target, epochs=5, batch_size=32, verbose=0)
np.save(folder / "answers.npy", network.predict(grey, verbose=0))
network.export(folder / "keras.onnx", format="onnx", verbose=False)
