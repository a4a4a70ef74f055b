"""TensorFlow's runtime without the API around it: what runs a SavedModel is a sixth of `import tensorflow`, without Keras.

`tensorflow/__init__.py` (2.16.2) imports all of the API, and at its end Keras, with it pandas, SciPy and others: 4,500
modules. Sessions, protocol messages and errors are modules below it, which need 700 of them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()


class _Runtime(ModuleType):
    """The package `tensorflow`, whose own code runs when something that only that brings is asked for."""

    _whole = False

    def __getattr__(self, name: str) -> Any:
        with _LOADING:
            if not self._whole:
                self._whole = True
                self.__spec__.loader.exec_module(self)  # pyright: ignore[reportOptionalMemberAccess]
        return super().__getattribute__(name)


def only() -> None:
    """In this process `from tensorflow.x import y` imports x and not all of TensorFlow, if that was not imported before.

    For processes that do nothing else with it. What uses the API after all, as tensorflow-io, loads it by that.
    """
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        return  # whoever imports it says so
    os.environ["TF2_BEHAVIOR"] = "1"  # as that code does first
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Runtime
    sys.modules["tensorflow"] = package
