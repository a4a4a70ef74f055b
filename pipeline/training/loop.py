"""The training loop: any loss and network of models/, resumable, on one device or on many (pipeline.training.devices)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from models import losses, spectral, storage
from models.separator import Separator
from pipeline.common import process, progress, stopping
from pipeline.common.progress import TrainingProgress
from pipeline.config.train import Recipe
from pipeline.data import batches, effects
from pipeline.data.excerpts import Tracks
from pipeline.training import devices, lbfgs, optimizers, stages
from pipeline.training.clock import Clock, rehearsed

# How many dev-free batches of mixtures measure the per-bin mean and deviation of the network's input.
ADAPT_BATCHES = 16

# Pairs that L-BFGS keeps (Huang et al. 2014), and batches that its objective is summed over.
LBFGS = {"history": 50, "batches": 8}


@dataclass(frozen=True)
class StageResult:
    """The figures of one finished stage; `dev_loss` is that of the stage's own loss.

    curve: (step, CPU minutes, dev loss) of every evaluation.
    start_loss: the dev loss before the first step of a training that began with given weights; None of any other.
    """

    name: str
    network: str
    steps: int
    dev_loss: float
    cpu_minutes: float
    stopped_early: bool
    start_loss: float | None = None
    curve: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Result:
    """A finished training: the float32 separator of the recipe's network, and the figures of all stages in their order."""

    separator: Separator
    stages: tuple[StageResult, ...]

    @property
    def own(self) -> StageResult:
        """The last stage, which trains the recipe's own network."""
        return self.stages[-1]

    @property
    def cpu_minutes(self) -> float:
        """CPU minutes of all stages."""
        return sum(stage.cpu_minutes for stage in self.stages)


def train(
    recipe: Recipe,
    train_files: Sequence[str],
    dev_files: Sequence[str],
    checkpoint_dir: str,
    log_dir: str,
    report: Callable[[TrainingProgress], None] = lambda at: None,
    teacher: Separator | None = None,
    start: Separator | None = None,
) -> Result:
    """Trains `recipe`, its stages first, on TFRecords and returns the separator with its best (patience set) or last weights.

    The loop saves itself to `checkpoint_dir` every `checkpoint_minutes` and continues from there when called again. With
    Adam and no budget of CPU minutes it ends with the weights of a training that was never interrupted, bit for bit on one
    machine with as many threads: the batch of a step is a function of the step and the seed. With stages each has a directory of its own in `checkpoint_dir` and in `log_dir`,
    which gets the TensorBoard events. `teacher`: what the loss `deep_features` looks through.

    `start`: of the recipe's spec. The training begins with its weights and keeps the standardisation that they were learnt
    with; stages are left out, for all they give is weights to begin with.

    Raises:
      ValueError: a split without a single excerpt, an augmentation whose package is missing, a loss that is not finite, or stages whose layers do not fit.
      OSError: `checkpoint_dir` is in a bucket that cannot be written.
    """
    if not train_files:
        raise ValueError("the train split holds no TFRecords: nothing to learn from")
    devices.check_shareable(recipe.train)
    effects.require(recipe.train.augment)
    tracks = Tracks(train_files, recipe.model, recipe.train)
    trained: list[Separator] = []
    figures: list[StageResult] = []
    for name, stage in stages.plan(recipe)[-1 if start else 0 :]:
        place = f"/{name}" if recipe.train.stages else ""
        guide = teacher if stage.train.teacher else None
        loop = _Loop(name, stage, tracks, dev_files, checkpoint_dir + place, log_dir + place, guide, start)
        if start is None:
            stages.hand_over(trained, loop.separator, name == stages.OWN)
        separator, figure = loop.run(report)
        trained.append(separator)
        figures.append(figure)
    return Result(trained[-1], tuple(figures))


class _Loop:
    """State of the training of one stage: separator, optimiser, counters; all of it in the checkpoint."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        tracks: Tracks,
        dev_files: Sequence[str],
        checkpoint_dir: str,
        log_dir: str,
        teacher: Separator | None,
        start: Separator | None,
    ) -> None:
        self.name, self.recipe, self.spec = name, recipe, recipe.train
        self.warm, self.moved = start is not None, False  # moved: whether this process has made a step
        self.tracks, self.dev_files = tracks, dev_files
        self.strategy = devices.strategy()
        keras.utils.set_random_seed(self.spec.seed)
        # Counters of this process, not of a replica.
        self.steps = tf.Variable(tf.constant(0, tf.int64))
        self.fraction = tf.Variable(tf.constant(0.0))
        self.cpu_seconds = tf.Variable(tf.constant(0.0, tf.float64))
        self.best_loss = tf.Variable(tf.constant(math.inf))
        self.dev_loss = tf.Variable(tf.constant(math.nan))
        self.start_loss = tf.Variable(tf.constant(math.nan))
        self.curve = tf.Variable(tf.constant("[]"))  # JSON, so that a checkpoint holds as much of it as there is
        self.bad_evaluations = tf.Variable(tf.constant(0, tf.int64))
        counters = {name: value for name, value in vars(self).items() if isinstance(value, tf.Variable)}
        with self.strategy.scope():
            self.separator = Separator(recipe.model, precision=self.spec.precision)
            if start:  # before the optimiser begins its moving average with the weights
                self.separator.set_weights(start.get_weights())
            self.optimizer = optimizers.build(self.spec, self.fraction)
            self.optimizer.build(self.separator.trainable_variables)
        through = {"teacher": teacher} if teacher else {}
        self.loss = losses.build(self.spec.loss, **self.spec.loss_options, **through)
        self.dev_step = tf.function(self._loss_of)
        state = tf.train.Checkpoint(separator=self.separator, optimizer=self.optimizer, **counters)
        place = devices.own(checkpoint_dir)
        self.place = checkpoint_dir
        self.latest = tf.train.CheckpointManager(state, f"{place}/latest", max_to_keep=2)
        self.begun = tf.train.latest_checkpoint(f"{checkpoint_dir}/latest")
        best = tf.train.Checkpoint(separator=self.separator)
        self.best = tf.train.CheckpointManager(best, f"{place}/best", max_to_keep=1)
        self.writer = tf.summary.create_file_writer(devices.own(log_dir))

    @property
    def step(self) -> int:
        return int(self.steps.numpy())

    @property
    def done(self) -> bool:
        return float(self.fraction) >= 1 or self._out_of_patience()

    def run(self, report: Callable[[TrainingProgress], None]) -> tuple[Separator, StageResult]:
        if self.begun:
            self.latest.checkpoint.restore(self.begun)
            self._evaluate_late()
        if not self.done:
            batches.check_length(self.tracks, self.spec)
            if self.begun:
                progress.line(f"training goes on after step {self.step}")
            self.clock, self.saved = Clock(self.spec), time.monotonic()
            if self.step == 0:
                self._begin()
            dev = self._dev_batches() if self.spec.cpu_minutes is None else ()
            self.clock.begin(float(self.fraction), rehearsed(self.dev_step, dev))
            descend = {"adam": self._adam, "lbfgs": self._lbfgs}[self.spec.optimizer]
            try:
                with stopping.says(raising=True), process.keeping_freed_memory():
                    descend(report)
                    self._count()
                    self._save(self.latest)
            except stopping.Stopped:
                self._keep()
                stopping.leave()
        self.writer.close()
        figures = StageResult(
            self.name,
            self.recipe.model.network,
            self.step,
            float(self.dev_loss),
            float(self.cpu_seconds) / 60,
            self._out_of_patience(),
            float(self.start_loss) if self.warm else None,
            tuple(map(tuple, json.loads(bytes(self.curve.numpy())))),
        )
        if self.spec.patience is not None and self.best.latest_checkpoint:
            tf.train.Checkpoint(separator=self.separator).restore(self.best.latest_checkpoint).expect_partial()
            return self.separator.with_precision("float32"), figures
        with self._averaged():
            return self.separator.with_precision("float32"), figures

    def _adam(self, report: Callable[[TrainingProgress], None]) -> None:
        batched = batches.training_batches(self.tracks, self.spec, first_step=self.step)
        iterator = iter(self.strategy.experimental_distribute_dataset(devices.shared(batched)))
        while not self.done:
            asked = time.monotonic()
            batch = next(iterator)
            waited = time.monotonic() - asked
            with stopping.whole() if self.moved else contextlib.nullcontext():  # in the first, graphs are traced
                loss = float(self._train_step(batch))
                self._stepped()
            with self.writer.as_default(step=self.step):
                tf.summary.scalar("data/share_of_step_waited", waited / (time.monotonic() - asked))
            self._after_step(loss, report)

    def _lbfgs(self, report: Callable[[TrainingProgress], None]) -> None:
        """Always the same batches, also when resumed: the objective is their sum."""
        options = {**LBFGS, **self.spec.optimizer_options}
        batched = batches.training_batches(self.tracks, self.spec)
        objective = list(batched.take(options["batches"]))

        def after_iteration(_: int, loss: float) -> bool:
            self._stepped()
            self._after_step(loss, report)
            return self.done

        left = self.spec.steps - self.step if self.spec.cpu_minutes is None else sys.maxsize
        variables = self.separator.trainable_variables
        summed = lbfgs.over_batches(self._gradients, objective)
        lbfgs.minimise(summed, variables, left, options["history"], after_iteration)
        if not self.done:  # a minimum was reached before all iterations were made
            self.fraction.assign(1.0)
            self._evaluate()

    def _stepped(self) -> None:
        self.steps.assign_add(1)
        self._count()
        self.moved = True

    def _after_step(self, loss: float, report: Callable[[TrainingProgress], None]) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"the training loss became {loss} at step {self.step}: lower train.learning_rate "
                f"(now {self.spec.learning_rate}) or set train.clip_norm (now {self.spec.clip_norm})"
            )
        if self._evaluation_due():
            with self.clock.evaluating():
                self._evaluate()
        with self.writer.as_default(step=self.step):
            tf.summary.scalar("loss/train", loss)
            tf.summary.scalar("learning_rate", self.optimizer.learning_rate)
            if math.isfinite(float(self.dev_loss)):
                tf.summary.scalar("loss/dev", self.dev_loss)
        fraction = float(self.fraction)
        left = self.clock.left(fraction, self.step)
        report(TrainingProgress(self.name, self.step, fraction, loss, float(self.dev_loss), left))
        if time.monotonic() - self.saved > 60 * self.spec.checkpoint_minutes:
            self._save(self.latest)
            self.saved = time.monotonic()

    def _keep(self) -> None:
        """Saves a training that is stopped, as it is."""
        if self.moved:
            self._save(self.latest)
            progress.line(f"training is kept at step {self.step}")

    def _evaluation_due(self) -> bool:
        return self.step % self.spec.evaluate_every_steps == 0 or float(self.fraction) >= 1

    def _evaluate_late(self) -> None:
        """Makes up for the evaluation in which a training was stopped."""
        evaluated = [step for step, *_ in json.loads(bytes(self.curve.numpy()))]
        if self.step and self._evaluation_due() and self.step not in evaluated:
            self._evaluate()

    def _save(self, checkpoints: tf.train.CheckpointManager) -> None:
        with storage.told(self.place):
            checkpoints.save()

    def _count(self) -> None:
        """Adds the CPU time since the last count, and says how much of the training that makes."""
        self.cpu_seconds.assign_add(self.clock.cpu_seconds())
        budget = self.spec.cpu_minutes
        spent = self.step / self.spec.steps if budget is None else float(self.cpu_seconds) / (60 * budget)
        self.fraction.assign(max(min(spent, 1.0), float(self.fraction)))

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
    def _gradients(self, batch: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        variables = self.separator.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss_of(batch)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _loss_of(self, batch: tf.Tensor) -> tf.Tensor:
        references = spectrograms(batch, self.recipe)
        mixture = tf.reduce_sum(references, axis=-1)
        return self.loss(mixture, references, self.separator.network_outputs(mixture))

    def _begin(self) -> None:
        """Measures where given weights stand; new ones get the standardisation that they are going to learn with."""
        if self.warm:
            self._evaluate()
            self.start_loss.assign(self.dev_loss)
        elif self.recipe.model.standardise:
            plain = dataclasses.replace(self.spec, augment=(), augment_options={})  # quicker than augmented mixtures
            stems = batches.training_batches(self.tracks, plain)
            mixtures = stems.map(lambda batch: tf.reduce_sum(spectrograms(batch, self.recipe), axis=-1))
            self.separator.adapt(mixtures.take(ADAPT_BATCHES))

    def _evaluate(self) -> None:
        """Dev loss with the averaged weights; keeps the best weights and counts evaluations without improvement."""
        with self._averaged():
            total = [(float(self.dev_step(batch)), int(batch.shape[0])) for batch in self._dev_batches()]
            if not total:  # a corpus may have no dev split: then there is nothing to stop early by
                return
            mean = sum(loss * size for loss, size in total) / sum(size for _, size in total)
            mean = devices.agreed(mean)  # all workers stop at the same step
            improved = mean < float(self.best_loss)
            if improved:
                self._save(self.best)
        with stopping.whole():
            self._note(mean, improved)

    def _note(self, mean: float, improved: bool) -> None:
        self.dev_loss.assign(mean)
        at = self.step, round(float(self.cpu_seconds) / 60, 3), float(f"{mean:.5g}")
        self.curve.assign(json.dumps([*json.loads(bytes(self.curve.numpy())), at]))
        self.best_loss.assign(min(mean, float(self.best_loss)))
        self.bad_evaluations.assign(0 if improved else self.bad_evaluations + 1)

    def _dev_batches(self) -> tf.data.Dataset:
        return batches.dev_batches(self.dev_files, self.recipe.model, self.spec)

    def _out_of_patience(self) -> bool:
        return self.spec.patience is not None and int(self.bad_evaluations) >= self.spec.patience

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average of the weights in place of the weights, where the recipe keeps one."""
        if not self.optimizer.use_ema:
            yield
            return
        kept = [variable.numpy() for variable in self.separator.trainable_variables]
        self.optimizer.finalize_variable_values(self.separator.trainable_variables)
        try:
            yield
        finally:
            for variable, value in zip(self.separator.trainable_variables, kept, strict=True):
                variable.assign(value)


def spectrograms(batch: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Stems `[batch, samples, channels, targets]` -> complex `[batch, frames, bins, channels, targets]`."""
    model = recipe.model
    waveforms = tf.transpose(batch, [0, 2, 3, 1])
    spectra = spectral.stft(waveforms, model.frame_length, model.hop, model.window)
    return tf.transpose(spectra, [0, 3, 4, 1, 2])
