"""A SavedModel's graph in a session, run as TensorFlow Serving runs it: `DirectSession::Run` by tensor names.

Python's `Session.run` puts checks of its own before that: it refuses a value that does not fit the static shape of a
placeholder, where C++ leaves shapes to the operations, and casts one of another dtype in silence, where C++ refuses it.
The call below the two is the same; it has no public name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow.core.protobuf.config_pb2 import ConfigProto, RunOptions
from tensorflow.python.client import pywrap_tf_session, session
from tensorflow.python.framework import errors, load_library, ops
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from serving.wire.status import Code, StatusError

# All that TensorFlow's runtime needs of `tensorflow/__init__.py`, which serving.server.runtime leaves out.
load_library.load_library(str(Path(load_library.__file__).parents[2] / "core" / "kernels"))


class Session:
    """The graph of the SavedModel in `directory` that has the tags, restored.

    Raises:
      StatusError: it cannot be loaded.
    """

    def __init__(self, directory: Path, tags: Sequence[str], config: ConfigProto) -> None:
        self._session: Any = session.Session(graph=ops.Graph(), config=config)
        self._closed = False
        try:
            with self._session.graph.as_default():
                loaded: Any = SavedModelLoader(str(directory)).load(self._session, list(tags))
            self._session._extend_graph()
        except errors.OpError as error:
            self.close()
            raise StatusError.from_tensorflow(error) from error
        except Exception as error:  # a damaged file fails anywhere in TensorFlow's Python
            self.close()
            raise StatusError(Code.UNKNOWN, f"{type(error).__name__}: {error}") from error
        self.signatures = dict(loaded.signature_def)

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Mapping[str, str], timeout_seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """The fetched values by their keys in `fetches`, whose values name tensors as the keys of `feeds` do.

        Raises:
          StatusError: in the runtime's own words; DEADLINE_EXCEEDED when the time is up, UNAVAILABLE once it is closed.
        """
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise StatusError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        inputs = {self._output(name, "FeedInputs: unable to find feed output {}"): feeds[name] for name in feeds}
        outputs = [self._output(name, "FetchOutputs node {}: not found") for name in fetches.values()]
        try:
            with _run_options(timeout_seconds) as options:
                values = self._session._call_tf_sessionrun(options, inputs, outputs, [], None)
        except errors.OpError as error:
            code = Code.UNAVAILABLE if self._closed else None  # it was cut short, or came too late
            raise StatusError.from_tensorflow(error, code) from error
        except UnicodeDecodeError as error:  # the runtime's words quote the request's bytes
            raise StatusError(Code.INVALID_ARGUMENT, error.object.decode(errors="replace")) from error
        return dict(zip(fetches, values, strict=True))

    def close(self) -> None:
        """Cuts short what is running, and gives the memory back."""
        self._closed = True
        self._session.close()

    def _output(self, name: str, missing: str) -> Any:
        try:
            return self._session.graph.get_tensor_by_name(name)._as_tf_output()
        except (KeyError, ValueError):
            raise StatusError(Code.NOT_FOUND, missing.format(name)) from None


@contextmanager
def _run_options(timeout_seconds: float | None) -> Iterator[Any]:
    """RunOptions as the session takes them; None for the default ones."""
    if timeout_seconds is None:
        yield None
        return
    milliseconds = min(max(1, int(timeout_seconds * 1000)), 2**62)
    message = RunOptions(timeout_in_ms=milliseconds).SerializeToString()
    buffer = pywrap_tf_session.TF_NewBufferFromString(message)
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)
