"""Dynamic batching with TensorFlow Serving's parameters: requests that come about the same time share one run.

Semantics and messages are those of `SharedBatchScheduler` (tensorflow/core/kernels/batching_util) under
`BatchingSession` (tensorflow_serving/batching) in 2.16.1, with two differences that no well-formed request sees:

- Only inputs of equal shapes are put in one batch. The real server forms a batch of what comes, and when the lengths
  differ and `pad_variable_length_inputs` is off it fails the whole batch with FAILED_PRECONDITION; here requests of
  another length simply wait for a batch of their own, and count against the same `max_enqueued_batches`.
- A request with an output filter is batched with its like; the real server runs it alone.

With `pad_variable_length_inputs` requests of different lengths do share a batch: shorter inputs are filled up to the
longest with their first value, and outputs are as long as the longest, as the real server answers.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from serving.server import textproto
from serving.wire.status import Code, StatusError

Arrays = Mapping[str, np.ndarray]
Fetches = Mapping[str, str]
Run = Callable[[Arrays, Fetches, float | None], dict[str, np.ndarray]]

# Which batches a request may join: what it feeds and fetches, and with which dtypes and shapes.
Signature = tuple[frozenset[str], frozenset[tuple[str, str]]]
Shapes = tuple[tuple, ...]


@dataclass(frozen=True)
class BatchingParameters:
    """session_bundle_config.proto; the defaults are the real server's for a field that is not set.

    Raises:
      ValueError: values with which the real server does not start.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        for name in ("batch_timeout_micros", "max_enqueued_batches"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be non-negative; was {getattr(self, name)}")
        size, sizes = self.max_execution_batch_size, self.allowed_batch_sizes
        if size is not None and not 1 <= size <= self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size must be from 1 to max_batch_size={self.max_batch_size}; was {size}"
            )
        if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
            raise ValueError(f"allowed_batch_sizes must be positive and in increasing order; was {list(sizes)}")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                f"last entry was {sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def batch_limit(self) -> int:
        """Largest batch that is run: smaller than the largest request only when large ones are split."""
        if not self.enable_large_batch_splitting:
            return self.max_batch_size
        return self.max_execution_batch_size or self.max_batch_size

    def padded_size(self, size: int) -> int:
        """The next allowed size."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_parameters(path: Path) -> BatchingParameters:
    """The parameters in a text proto (`--batching_parameters_file`).

    Raises:
      ValueError: it cannot be read or parsed, or holds values that are not legal; one sentence that names the file.
    """
    message = textproto.read(path, textproto.message("BatchingParameters"))
    values = {}
    for descriptor, value in message.ListFields():
        if descriptor.name == "allowed_batch_sizes":
            values[descriptor.name] = tuple(value)
        elif descriptor.name != "thread_pool_name":  # a name in the real server's traces
            values[descriptor.name] = value if isinstance(value, bool) else value.value
    try:
        return BatchingParameters(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@dataclass
class _Task:
    """A request, or a piece of a large one, waiting for its rows of a batch's outputs."""

    feeds: Arrays
    size: int
    deadline: float | None
    future: Future = field(default_factory=Future)


@dataclass
class _Batch:
    shapes: Shapes
    fetches: Fetches
    opened: float
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0
    closed: bool = False

    def add(self, task: _Task) -> None:
        self.tasks.append(task)
        self.size += task.size


class Scheduler:
    """Runs what several threads ask for in batches.

    Args:
      run: feeds by tensor name, fetches by alias, seconds it may take -> outputs by alias; called by the batch threads.
      parameters: see BatchingParameters; `num_batch_threads` are this scheduler's own.
    """

    def __init__(self, run: Run, parameters: BatchingParameters) -> None:
        self._run = run
        self._parameters = parameters
        self._queues: OrderedDict[Signature, list[_Batch]] = OrderedDict()
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch_threads-{index}", daemon=True)
            for index in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def predict(self, feeds: Arrays, fetches: Fetches, timeout_seconds: float | None = None) -> dict[str, np.ndarray]:
        """The request's own rows of the outputs by alias.

        Raises:
          StatusError: INVALID_ARGUMENT (inputs without a common batch axis, or larger than max_batch_size), UNAVAILABLE
            (the queue is full), RESOURCE_EXHAUSTED (the time was up before it left the queue), FAILED_PRECONDITION (an
            output without the batch axis), or what the run of its batch ended with.
        """
        size = batch_size(feeds)
        if size == 0:  # no row to pad a batch with
            return self._run(feeds, fetches, timeout_seconds)
        if size > self._parameters.max_batch_size:
            limit = self._parameters.max_batch_size
            message = f"Task size {size} is larger than maximum input batch size {limit}"
            raise StatusError(Code.INVALID_ARGUMENT, message)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        tasks = self._enqueue(feeds, fetches, size, deadline)
        answers = [_answer(task) for task in tasks]
        if len(answers) == 1:
            return answers[0]
        return {alias: np.concatenate([answer[alias] for answer in answers]) for alias in fetches}

    def close(self, wait_seconds: float | None = None) -> None:
        """Takes no more requests, runs what is queued without waiting for batches to fill, and ends the threads.

        Args:
          wait_seconds: returns after this time even if a run is still under way; None waits for all.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = None if wait_seconds is None else time.monotonic() + wait_seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    # -- the queue

    def _enqueue(self, feeds: Arrays, fetches: Fetches, size: int, deadline: float | None) -> list[_Task]:
        signature = frozenset(feeds), frozenset(fetches.items())
        padded = self._parameters.pad_variable_length_inputs
        shapes = tuple(
            (name, array.dtype.str, array.ndim if padded else array.shape[1:]) for name, array in sorted(feeds.items())
        )
        limit = self._parameters.batch_limit
        with self._changed:
            if self._closing:
                raise StatusError(Code.UNAVAILABLE, "the model is being unloaded")
            queue = self._queues.get(signature, [])
            last = next((batch for batch in reversed(queue) if batch.shapes == shapes and not batch.closed), None)
            self._check_capacity(size, queue, last.size if last else 0)
            tasks = []
            for rows in self._pieces(size, limit - last.size if last else 0):
                piece = {name: array[rows.start : rows.stop] for name, array in feeds.items()}
                tasks.append(_Task(piece, len(rows), deadline))
                if last is None or last.size + len(rows) > limit:
                    if last is not None:
                        last.closed = True
                    last = _Batch(shapes, fetches, time.monotonic())
                    queue.append(last)
                last.add(tasks[-1])
            self._queues[signature] = queue
            self._changed.notify_all()
        return tasks

    def _pieces(self, size: int, room: int) -> Iterator[range]:
        """The rows of each piece: the whole request, or what fills the open batch and then batch after batch."""
        limit = self._parameters.batch_limit
        if not self._parameters.enable_large_batch_splitting:
            yield range(size)
            return
        start = 0
        while start < size:
            stop = min(size, start + (room or limit))
            yield range(start, stop)
            start, room = stop, 0

    def _check_capacity(self, size: int, queue: Sequence[_Batch], open_size: int) -> None:
        """ValidateBatchTaskQueueCapacity; like there, 0 enqueued batches allow one."""
        most = max(1, self._parameters.max_enqueued_batches)
        limit = self._parameters.batch_limit
        full = "The batch scheduling queue to which this task was submitted is full; "
        if self._parameters.enable_large_batch_splitting:
            capacity = (most - len(queue)) * limit + (limit - open_size if open_size else 0)
            if size > capacity:
                details = f"num_enqueued_batches={len(queue)}, max_enqueued_batches={most}, "
                details += f"open_batch_size={open_size}, max_execution_batch_size={limit}"
                message = f"{full}task size is {size} but scheduling capacity is only {capacity} ({details})"
                raise StatusError(Code.UNAVAILABLE, message)
        elif len(queue) >= most and (not open_size or open_size + size > limit):
            message = f"{full}currently {len(queue)} batches enqueued and max_enqueued_batches is {most}"
            raise StatusError(Code.UNAVAILABLE, message)

    # -- the batch threads

    def _work(self) -> None:
        while self._process_next():
            pass  # and nothing of the batch stays referenced until there is another

    def _process_next(self) -> bool:
        """False when the scheduler is closed and empty."""
        batch = self._next()
        if batch is not None:
            self._process(batch)
        return batch is not None

    def _next(self) -> _Batch | None:
        """The next batch that is full or has waited its time; None when the scheduler is closed and empty."""
        with self._changed:
            while not (self._closing and not self._queues):
                now = time.monotonic()
                if (batch := self._take(now)) is not None:
                    return batch
                due = [self._due(batch) for queue in self._queues.values() for batch in queue]
                self._changed.wait(min(due) - now if due else None)
        return None

    def _take(self, now: float) -> _Batch | None:
        """Queues take turns."""
        for signature, queue in self._queues.items():
            for index, batch in enumerate(queue):
                if self._closing or batch.closed or self._due(batch) <= now:
                    del queue[index]
                    if queue:
                        self._queues.move_to_end(signature)
                    else:
                        del self._queues[signature]
                    return batch
        return None

    def _due(self, batch: _Batch) -> float:
        full = batch.size >= self._parameters.batch_limit
        return batch.opened + (0 if full else self._parameters.batch_timeout_micros / 1e6)

    def _process(self, batch: _Batch) -> None:
        tasks = _live(batch.tasks, time.monotonic())
        if not tasks:
            return
        try:
            sizes = [task.size for task in tasks]
            padded_size = self._parameters.padded_size(sum(sizes))
            feeds = merge([task.feeds for task in tasks], padded_size)
            answers = split(self._run(feeds, batch.fetches, _seconds_left(tasks)), sizes, padded_size)
        except Exception as error:  # of any kind: it is every member's answer, and this thread has to go on
            for task in tasks:
                task.future.set_exception(error)
            return
        for task, answer in zip(tasks, answers, strict=True):
            task.future.set_result(answer)


def _live(tasks: Sequence[_Task], now: float) -> list[_Task]:
    """The tasks that someone still waits for."""
    live = [task for task in tasks if task.future.set_running_or_notify_cancel()]
    for task in live:
        if task.deadline is not None and task.deadline <= now:
            task.future.set_exception(_expired())
    return [task for task in live if not task.future.done()]


def _seconds_left(tasks: Sequence[_Task]) -> float | None:
    """Until the last member's deadline: a shorter one must not end the run of the others."""
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    return max(deadlines) - time.monotonic() if len(deadlines) == len(tasks) else None


def _answer(task: _Task) -> dict[str, np.ndarray]:
    """Waits for the task in the queue up to its deadline, and for its run as long as that takes."""
    try:
        return task.future.result(None if task.deadline is None else max(0.0, task.deadline - time.monotonic()))
    except TimeoutError:
        if task.future.cancel():
            raise _expired() from None
        return task.future.result()


def _expired() -> StatusError:
    return StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")


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
