"""TensorFlow's runtime without its API: in processes of their own, as a process imports a package once."""

from __future__ import annotations

import os
import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from serving.server import runtime\n{code}"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_runtime_has_the_kernels_that_lie_in_libraries_of_their_own() -> None:
    """`tensorflow/__init__.py` loads them: at 2.16.2, libtfkernel_sobol_op.so."""
    code = """
runtime.only()
import serving.server.models.session
from tensorflow.python.framework import kernels
print(len(kernels.get_registered_kernels_for_op("SobolSample").kernel) > 0)
import sys
print("tensorflow._api" in sys.modules)
"""
    assert run(code).split() == ["True", "False"]


def test_who_asks_for_the_api_has_all_of_it() -> None:
    """In whichever thread, also while another loads it; names that there are not are none."""
    code = """
runtime.only()
runtime.only()
import serving.server.models.servable
import tensorflow as tf
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as threads:
    print(list(threads.map(lambda value: int(tf.square(value)), range(4))))
import tf_keras
layer = tf_keras.layers.Dense(1, kernel_initializer="ones")
print(layer(tf.ones([1, 3])).numpy().tolist(), tf.executing_eagerly(), tf.keras.__name__)
upwards = tf.function(lambda x: tf.while_loop(lambda x: x < 10, lambda x: x + 1, [x]))
print(int(upwards(tf.constant(0))[0]), hasattr(tf, "no_such_name"))
"""
    assert run(code).splitlines() == ["[0, 1, 4, 9]", "[[3.0]] True tf_keras.api._v2.keras", "10 False"]


def test_what_is_imported_already_stays() -> None:
    code = """
import sys, types
imported = sys.modules["tensorflow"] = types.ModuleType("tensorflow")
runtime.only()
print(sys.modules["tensorflow"] is imported)
"""
    assert run(code).split() == ["True"]
