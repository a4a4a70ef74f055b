"""Dynamic batching with TensorFlow Serving's parameters: requests that come about the same time share one run.

The queues, the batch threads and their words are TensorFlow's own `SharedBatchScheduler`, the real server's, behind the
op `BatchFunction`. What goes through the op are the numbers of requests' rows alone; what becomes of a batch is decided here, as
`BatchingSession` (tensorflow_serving/batching, 2.16.1) decides it, with one difference that no well-formed request sees:
only inputs of equal shapes are put in one run. The real server fails a batch with FAILED_PRECONDITION when the lengths in
it differ and `pad_variable_length_inputs` is off; here those of another length have a run of their own in the same turn.

With `pad_variable_length_inputs` requests of different lengths do share a run: shorter inputs are filled up to the
longest with their first value, and outputs are as long as the longest, as the real server answers.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import session
from tensorflow.python.eager.polymorphic_function.polymorphic_function import function
from tensorflow.python.framework import dtypes, errors, ops, tensor_spec
from tensorflow.python.ops import array_ops, gen_batch_ops, script_ops

from serving.server.models.batching_parameters import BatchingParameters
from serving.wire.status import Code, StatusError

Arrays = Mapping[str, np.ndarray]
Fetches = Mapping[str, str]
Run = Callable[[Arrays, Fetches, float | None], dict[str, np.ndarray]]

# The tensors that are fed and fetched: the requests of one queue
Signature = tuple[frozenset[str], frozenset[str]]
Queue = Callable[[np.ndarray], Any]


@dataclass
class _Task:
    """A request that waits for its rows of the outputs."""

    feeds: Arrays
    fetches: Fetches
    deadline: float | None
    outputs: dict[int, Arrays] = field(default_factory=dict)  # by the first of the rows; of a split request several
    error: Exception | None = None

    def answer(self) -> dict[str, np.ndarray]:
        if self.error is not None:
            raise self.error
        pieces = [outputs for _, outputs in sorted(self.outputs.items())]
        if len(pieces) == 1:
            return {alias: pieces[0][name] for alias, name in self.fetches.items()}
        return {alias: np.concatenate([piece[name] for piece in pieces]) for alias, name in self.fetches.items()}


@dataclass
class _Piece:
    """Rows of a request that are in one batch."""

    task: _Task
    rows: slice

    @property
    def feeds(self) -> Arrays:
        return {name: array[self.rows] for name, array in self.task.feeds.items()}


class Scheduler:
    """Runs what several threads ask for in batches.

    Args:
      run: feeds by tensor name, fetches by alias, seconds it may take -> outputs by alias; called by the batch threads.
      parameters: see BatchingParameters; `num_batch_threads` are this scheduler's own.
    """

    def __init__(self, run: Run, parameters: BatchingParameters) -> None:
        self._run = run
        self._parameters = parameters
        self._numbers = itertools.count()
        self._tasks: dict[int, _Task] = {}
        self._queues: dict[Signature, Queue] = {}
        self._making = threading.Lock()
        # Threads of its own: those of all sessions together could all be waiting for a batch, which runs on them.
        config = config_pb2.ConfigProto(use_per_session_threads=True, inter_op_parallelism_threads=1)
        self._session: Any = session.Session(graph=ops.Graph(), config=config)

    def predict(self, feeds: Arrays, fetches: Fetches, timeout_seconds: float | None = None) -> dict[str, np.ndarray]:
        """The request's own rows of the outputs by alias.

        Raises:
          StatusError: INVALID_ARGUMENT (inputs without a common batch axis, or larger than max_batch_size), UNAVAILABLE
            (the queue is full, or closed), RESOURCE_EXHAUSTED (the time of all in the batch was up before it left the queue),
            FAILED_PRECONDITION (an output without the batch axis), or what the run of its batch ended with.
        """
        size = batch_size(feeds)
        if size == 0:  # no row to pad a batch with
            return self._run(feeds, fetches, timeout_seconds)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        number, task = next(self._numbers), _Task(feeds, fetches, deadline)
        self._tasks[number] = task
        try:
            self._queue((frozenset(feeds), frozenset(fetches.values())))(_rows(number, size))
        except errors.OpError as error:
            closed = Code.UNAVAILABLE if isinstance(error, errors.CancelledError) else None
            status = StatusError.from_tensorflow(error, closed)
            raise StatusError(status.code, status.message.partition("\n\t [[{{node")[0]) from error
        finally:
            del self._tasks[number]
        return task.answer()

    def close(self) -> None:
        """Gives the threads back; requests that wait in a queue end with UNAVAILABLE once their turn has come."""
        self._session.close()

    def _queue(self, signature: Signature) -> Queue:
        """What a request's rows wait in, until their batch has run."""
        with self._making:
            if signature not in self._queues:
                self._queues[signature] = self._new_queue(f"queue_{len(self._queues)}")
            return self._queues[signature]

    def _new_queue(self, name: str) -> Queue:
        parameters, split = self._parameters, self._parameters.enable_large_batch_splitting

        process: Any = function(
            lambda rows: script_ops.numpy_function(self._process, [rows], dtypes.int64),
            input_signature=[tensor_spec.TensorSpec([None, 2], dtypes.int64)],  # pyright: ignore[reportCallIssue]
            autograph=False,
        )
        with self._session.graph.as_default():
            rows = array_ops.placeholder(dtypes.int64, [None, 2])
            processed = gen_batch_ops.batch_function(
                in_tensors=[rows],
                captured_tensors=[],
                f=process.get_concrete_function(),
                Tout=[dtypes.int64],
                num_batch_threads=parameters.num_batch_threads,
                max_batch_size=parameters.max_batch_size,
                batch_timeout_micros=parameters.batch_timeout_micros,
                max_enqueued_batches=parameters.max_enqueued_batches,
                # the op has no other way to say how large a batch of split requests may be
                allowed_batch_sizes=[parameters.max_execution_batch_size or parameters.max_batch_size] if split else [],
                enable_large_batch_splitting=split,
                shared_name="scheduler",
                batching_queue=name,
            )[0]
        options = config_pb2.RunOptions(inter_op_thread_pool=-1)  # the caller's thread, which waits anyway
        call = config_pb2.CallableOptions(feed=[rows.name], fetch=[processed.name], run_options=options)
        return self._session._make_callable_from_options(call)

    def _process(self, rows: np.ndarray) -> np.ndarray:
        """Runs one batch: [number of the request, row] of every row, some repeated to fill it up."""
        groups = defaultdict(list)
        for number, own in itertools.groupby(dict.fromkeys(map(tuple, rows.tolist())), lambda row: row[0]):
            indices = [index for _, index in own]
            piece = _Piece(self._tasks[number], slice(indices[0], indices[-1] + 1))
            groups[self._shapes(piece.feeds)].append(piece)
        for pieces in groups.values():
            try:
                self._run_together(pieces)
            except Exception as error:  # of any kind: it is every member's answer
                for piece in pieces:
                    piece.task.error = error
        return rows

    def _shapes(self, feeds: Arrays) -> tuple:
        """Equal of inputs that can be one below the other."""
        padded = self._parameters.pad_variable_length_inputs
        return tuple(
            (name, array.dtype.str, array.ndim if padded else array.shape[1:]) for name, array in sorted(feeds.items())
        )

    def _run_together(self, pieces: Sequence[_Piece]) -> None:
        members = [piece.feeds for piece in pieces]
        sizes = [batch_size(feeds) for feeds in members]
        padded_size = self._parameters.padded_size(sum(sizes))
        fetches = {name: name for name in pieces[0].task.fetches.values()}
        outputs = self._run(merge(members, padded_size), fetches, _seconds_left([piece.task for piece in pieces]))
        for piece, answer in zip(pieces, split(outputs, sizes, padded_size), strict=True):
            piece.task.outputs[piece.rows.start] = answer


def _rows(number: int, size: int) -> np.ndarray:
    return np.stack([np.full(size, number), np.arange(size)], axis=1)


def _seconds_left(tasks: Sequence[_Task]) -> float | None:
    """Until the last one's deadline: a shorter one must not end the run of the others.

    Raises:
      StatusError: RESOURCE_EXHAUSTED, nobody waits any more.
    """
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return None
    seconds = max(deadlines) - time.monotonic()
    if seconds <= 0:
        raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    return seconds


# ---- requests one below the other, and their rows: MergeInputTensors and SplitOutputTensors of batching_session.cc


def batch_size(feeds: Arrays) -> int:
    """The inputs' common first dimension; StatusError INVALID_ARGUMENT when there is none."""
    if not feeds:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(members: Sequence[Arrays], padded_size: int) -> dict[str, np.ndarray]:
    """The members' inputs one below the other, filled up to `padded_size` rows with the last member's first row.

    A member that is shorter than another in a further dimension is filled up there with its first value.

    Raises:
      StatusError: INVALID_ARGUMENT, an input without values would have to be filled up.
    """
    merged = {}
    for name in members[0]:
        arrays = [member[name] for member in members]
        dims = tuple(map(max, *(array.shape[1:] for array in arrays))) if len(arrays) > 1 else arrays[0].shape[1:]
        arrays = [_lengthened(array, dims) for array in arrays]
        missing = padded_size - sum(map(len, arrays))
        arrays += [np.broadcast_to(arrays[-1][:1], (missing, *dims))] if missing else []
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def split(outputs: Arrays, sizes: Sequence[int], padded_size: int) -> list[dict[str, np.ndarray]]:
    """Each member's rows of the outputs, without the rows of the padding.

    Raises:
      StatusError: FAILED_PRECONDITION, an output is not batch-major.
    """
    for array in outputs.values():
        if np.ndim(array) == 0:
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(array) != padded_size:
            message = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
            raise StatusError(Code.FAILED_PRECONDITION, message)
    stops = np.cumsum(sizes).tolist()
    return [
        {name: array[stop - size : stop] for name, array in outputs.items()}
        for size, stop in zip(sizes, stops, strict=True)
    ]


def _lengthened(array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == dims:
        return array
    if array.size == 0:
        raise StatusError(Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    longer = np.full((len(array), *dims), array.flat[0], array.dtype)
    longer[tuple(slice(size) for size in array.shape)] = array
    return longer
