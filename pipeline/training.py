"""The training loop: any loss and network of models/, resumable, on one device or on all GPUs of the machine."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from models import losses, spectral
from models.recipe import Recipe, TrainSpec
from models.separator import Separator
from pipeline import batches

# How many dev-free batches of mixtures measure the per-bin mean and deviation of the network's input.
ADAPT_BATCHES = 16


@dataclass(frozen=True)
class Progress:
    """What the loop says after every logged step; `dev_loss` is the last one measured, NaN before the first."""

    step: int
    steps: int
    loss: float
    dev_loss: float
    seconds_left: float


@dataclass(frozen=True)
class Result:
    """A finished training: the float32 separator and the figures that go into the run's record."""

    separator: Separator
    steps: int
    dev_loss: float
    cpu_minutes: float
    stopped_early: bool


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up; then constant, or constant for a fraction of the steps and a cosine to 1 % of the peak."""

    def __init__(self, train: TrainSpec) -> None:
        self.train = train

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        train = self.train
        step = tf.cast(step, tf.float32)
        warm = tf.minimum((step + 1) / max(train.warmup_steps, 1), 1.0)
        if train.schedule == "constant":
            return train.learning_rate * warm
        start = train.constant_fraction * train.steps
        progress = tf.clip_by_value((step - start) / max(train.steps - start, 1), 0.0, 1.0)
        return train.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * progress)))


def train(
    recipe: Recipe,
    train_files: Sequence[str],
    dev_files: Sequence[str],
    checkpoint_dir: str,
    log_dir: str,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Trains `recipe` on TFRecords and returns the separator with its best (patience set) or last weights.

    The loop saves itself to `checkpoint_dir` every `checkpoint_minutes` and continues from there when called again; the
    step count at the end is the same. TensorBoard events go to `log_dir`.

    Raises:
      ValueError: a split without a single excerpt, or a loss that is not finite.
    """
    if not train_files:
        raise ValueError("the train split holds no TFRecords: nothing to learn from")
    loop = _Loop(recipe, train_files, dev_files, checkpoint_dir, log_dir)
    return loop.run(report)


def strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine, or the default device when there is none."""
    gpus = tf.config.list_physical_devices("GPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


class _Loop:
    """State of one training: separator, optimiser, counters; all of it in the checkpoint."""

    def __init__(self, recipe: Recipe, train_files, dev_files, checkpoint_dir: str, log_dir: str) -> None:
        self.recipe, self.spec = recipe, recipe.train
        self.train_files, self.dev_files = train_files, dev_files
        self.strategy = strategy()
        keras.utils.set_random_seed(self.spec.seed)
        with self.strategy.scope():
            self.separator = Separator(recipe.model, precision=self.spec.precision)
            self.optimizer = _optimizer(self.spec)
            self.optimizer.build(self.separator.trainable_variables)
        # Counters of this process, not of a replica.
        self.cpu_seconds = tf.Variable(0.0, dtype=tf.float64)
        self.best_loss = tf.Variable(math.inf)
        self.dev_loss = tf.Variable(math.nan)
        self.bad_evaluations = tf.Variable(0, dtype=tf.int64)
        self.loss = losses.build(self.spec.loss, **self.spec.loss_options)
        state = tf.train.Checkpoint(
            separator=self.separator,
            optimizer=self.optimizer,
            cpu_seconds=self.cpu_seconds,
            best_loss=self.best_loss,
            dev_loss=self.dev_loss,
            bad_evaluations=self.bad_evaluations,
        )
        self.latest = tf.train.CheckpointManager(state, f"{checkpoint_dir}/latest", max_to_keep=2)
        best = tf.train.Checkpoint(separator=self.separator)
        self.best = tf.train.CheckpointManager(best, f"{checkpoint_dir}/best", max_to_keep=1)
        self.writer = tf.summary.create_file_writer(log_dir)

    @property
    def step(self) -> int:
        return int(self.optimizer.iterations.numpy())

    def run(self, report: Callable[[Progress], None]) -> Result:
        if self.latest.latest_checkpoint:
            self.latest.restore_or_initialize()
        batched = batches.training_batches(self.train_files, self.recipe.model, self.spec, self.spec.seed + self.step)
        clock = _Clock(self.step)
        if self.step == 0:
            self._adapt(batched)
        stopped, saved = self._out_of_patience(), time.monotonic()
        iterator = iter(self.strategy.experimental_distribute_dataset(batched))
        while self.step < self.spec.steps and not stopped:
            loss = float(self._train_step(next(iterator)))
            self.cpu_seconds.assign_add(clock.cpu_seconds())
            self._check(loss)
            if self.step % self.spec.evaluate_every_steps == 0 or self.step == self.spec.steps:
                stopped = self._evaluate()
            self._log(loss)
            report(
                Progress(self.step, self.spec.steps, loss, float(self.dev_loss), clock.left(self.step, self.spec.steps))
            )
            if time.monotonic() - saved > 60 * self.spec.checkpoint_minutes:
                self.latest.save()
                saved = time.monotonic()
        self.cpu_seconds.assign_add(clock.cpu_seconds())
        self.latest.save()
        return self._result(stopped)

    @tf.function
    def _train_step(self, batch: tf.Tensor) -> tf.Tensor:
        per_replica = self.strategy.run(self._replica_step, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, per_replica, axis=None)

    def _replica_step(self, batch: tf.Tensor) -> tf.Tensor:
        variables = self.separator.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss_of(batch)
            scaled = loss / self.strategy.num_replicas_in_sync
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        return loss

    @tf.function
    def _dev_step(self, batch: tf.Tensor) -> tf.Tensor:
        return self._loss_of(batch)

    def _loss_of(self, batch: tf.Tensor) -> tf.Tensor:
        references = spectrograms(batch, self.recipe)
        mixture = tf.reduce_sum(references, axis=-1)
        return self.loss(mixture, references, self.separator.network_outputs(mixture))

    def _adapt(self, batched: tf.data.Dataset) -> None:
        """Measures the network's input on training mixtures, where the recipe standardises it."""
        if not self.recipe.model.standardise:
            return
        mixtures = batched.take(ADAPT_BATCHES).map(
            lambda batch: tf.reduce_sum(spectrograms(batch, self.recipe), axis=-1)
        )
        self.separator.adapt(mixtures)

    def _evaluate(self) -> bool:
        """Dev loss with the averaged weights; keeps the best weights; says whether patience has run out."""
        dev = batches.dev_batches(self.dev_files, self.recipe.model, self.spec)
        with self._averaged():
            total = [(float(self._dev_step(batch)), int(batch.shape[0])) for batch in dev]
            if not total:  # a corpus may have no dev split: then there is nothing to stop early by
                return False
            mean = sum(loss * size for loss, size in total) / sum(size for _, size in total)
            improved = mean < float(self.best_loss)
            if improved:
                self.best.save()
        self.dev_loss.assign(mean)
        self.best_loss.assign(min(mean, float(self.best_loss)))
        self.bad_evaluations.assign(0 if improved else self.bad_evaluations + 1)
        return self._out_of_patience()

    def _out_of_patience(self) -> bool:
        return self.spec.patience is not None and int(self.bad_evaluations) >= self.spec.patience

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average of the weights in place of the weights, where the recipe keeps one."""
        if self.spec.ema is None:
            yield
            return
        kept = [variable.numpy() for variable in self.separator.trainable_variables]
        self.optimizer.finalize_variable_values(self.separator.trainable_variables)
        try:
            yield
        finally:
            for variable, value in zip(self.separator.trainable_variables, kept, strict=True):
                variable.assign(value)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"the training loss became {loss} at step {self.step}: lower train.learning_rate "
                f"(now {self.spec.learning_rate}) or set train.clip_norm (now {self.spec.clip_norm})"
            )

    def _log(self, loss: float) -> None:
        with self.writer.as_default(step=self.step):
            tf.summary.scalar("loss/train", loss)
            tf.summary.scalar("learning_rate", self.optimizer.learning_rate)
            if math.isfinite(float(self.dev_loss)):
                tf.summary.scalar("loss/dev", self.dev_loss)

    def _result(self, stopped: bool) -> Result:
        self.writer.close()
        if self.spec.patience is not None and self.best.latest_checkpoint:
            tf.train.Checkpoint(separator=self.separator).restore(self.best.latest_checkpoint).expect_partial()
            final = self.separator.with_precision("float32")
        else:
            with self._averaged():
                final = self.separator.with_precision("float32")
        return Result(final, self.step, float(self.dev_loss), float(self.cpu_seconds) / 60, stopped)


class _Clock:
    """CPU seconds since the last look, and an estimate of the time left from the steps of this process."""

    def __init__(self, step: int) -> None:
        self.cpu, self.started, self.first = time.process_time(), time.monotonic(), step

    def cpu_seconds(self) -> float:
        now = time.process_time()
        spent, self.cpu = now - self.cpu, now
        return spent

    def left(self, step: int, steps: int) -> float:
        return (time.monotonic() - self.started) / max(step - self.first, 1) * (steps - step)


def spectrograms(batch: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Stems `[batch, samples, channels, targets]` -> complex `[batch, frames, bins, channels, targets]`."""
    model = recipe.model
    waveforms = tf.transpose(batch, [0, 2, 3, 1])
    spectra = spectral.stft(waveforms, model.frame_length, model.hop, model.window)
    return tf.transpose(spectra, [0, 3, 4, 1, 2])


def _optimizer(spec: TrainSpec) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(
        learning_rate=Schedule(spec),
        global_clipnorm=spec.clip_norm,
        use_ema=spec.ema is not None,
        ema_momentum=spec.ema if spec.ema is not None else 0.99,
        jit_compile=False,
    )
