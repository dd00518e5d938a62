"""Furia's CNN trained by Elephas, for `updates.py`; runs in an interpreter of its own.

python benchmarks/elephas_training.py ARRAYS.npz MODE EVERY EPOCHS SEED
"""

from __future__ import annotations

import json
import os
import sys
import time

import keras
import numpy as np
from elephas.spark_model import SparkModel
from elephas.utils.rdd_utils import to_simple_rdd
from pyspark import SparkConf, SparkContext


def main() -> None:
    file, mode, every, epochs, seed = sys.argv[1:]
    data = np.load(file)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    keras.utils.set_random_seed(int(seed))
    model = keras.Sequential(
        [
            keras.layers.Input(data["x_train"].shape[1:]),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(32, 5, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", ["accuracy"])
    conf = SparkConf().setMaster("local[2]").setAppName("elephas")
    conf.set("spark.driver.bindAddress", "127.0.0.1").set("spark.driver.host", "127.0.0.1")
    conf.set("spark.driver.memory", "4g").set("spark.ui.enabled", "false")
    conf.set("spark.driver.maxResultSize", "2g")
    context = SparkContext(conf=conf)
    context.setLogLevel("ERROR")
    rdd = to_simple_rdd(context, data["x_train"], data["y_train"].astype("float32"))
    spark_model = SparkModel(model, frequency=every, mode=mode, num_workers=2)
    start = time.perf_counter()
    spark_model.fit(rdd, epochs=int(epochs), batch_size=64, verbose=0, validation_split=0.0)
    seconds = time.perf_counter() - start
    trained = spark_model.master_network
    found = {"epoch_seconds": round(seconds, 1)}
    for part, name in (("val", "validation"), ("test", "accuracy")):
        answer = trained.predict(data[f"x_{part}"], verbose=0).ravel() > 0.5
        found[name] = round(float((answer == data[f"y_{part}"]).mean()), 4)
    found["n"] = len(data["y_test"])
    context.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
