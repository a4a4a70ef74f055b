"""All models of the server: their version managers, their labels, and the config that names them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from models import storage
from serving.server.models import model_config
from serving.server.models.model_config import ModelConfig
from serving.server.models.versions import Closable, Retries, State, Version, VersionManager
from serving.wire.status import Code, StatusError

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.05
OTHER = "(other)"

T = TypeVar("T", bound=Closable)
Labels = Mapping[str, Mapping[str, int]]  # model -> label -> version


@dataclass(frozen=True)
class Polling:
    """How models come from the disk; see the flags of the same names."""

    file_system_poll_wait_seconds: float = 1.0
    retries: Retries = field(default_factory=Retries)
    allow_version_labels_for_unavailable_models: bool = False


def check_names(spec: model_pb2.ModelSpec) -> None:
    """StatusError INVALID_ARGUMENT for a spec of whose names one has control characters."""
    names = {"model name": spec.name, "version label": spec.version_label, "signature name": spec.signature_name}
    for what, name in names.items():
        model_config.check_name(what, name)


class ServerCore(Generic[T]):
    """Serves the models of one config after another, each polled and loaded in a thread of its own.

    Args:
      load: makes the servable of a version directory, or raises StatusError.
    """

    def __init__(self, load: Callable[[Path], T], polling: Polling) -> None:
        self._load = load
        self._polling = polling
        self._managers: dict[str, VersionManager[T]] = {}  # also of models that were removed: their versions' states
        self._served: Collection[str] | None = None  # names in the config; None before the first
        self._labels: Labels = {}
        self._reloading = threading.Lock()

    # -- requests

    @contextmanager
    def acquire(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[int, T]]:
        """Number and servable of the version that the spec asks for, kept loaded as long as the context lasts.

        Raises:
          StatusError: no name, an unknown label, or nothing is available under name and version.
        """
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        number = self.version(spec)
        manager = self._managers.get(spec.name)
        if manager is None:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {which}")
        with manager.acquire(number) as acquired:
            yield acquired

    def version(self, spec: model_pb2.ModelSpec) -> int | None:
        """The version a spec asks for by number or by label; None for the latest.

        Raises:
          StatusError: INVALID_ARGUMENT, an unknown label, or a name with control characters.
        """
        check_names(spec)
        if spec.HasField("version_label"):
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                message = f"Unrecognized servable version label: {spec.version_label}"
                raise StatusError(Code.INVALID_ARGUMENT, message)
            return labels[spec.version_label]
        return spec.version.value if spec.HasField("version") else None

    def label(self, name: str) -> str:
        """The name in a metric: of a model that no config ever named it is OTHER, whatever a request says."""
        return name if name in self._managers else OTHER

    @property
    def names(self) -> Collection[str]:
        """Of the models in the config, in its order."""
        return self._served or ()

    def states(self, name: str) -> list[Version[T]]:
        """Every version of a model ever seen, newest first; empty for an unknown model."""
        manager = self._managers.get(name)
        return manager.states() if manager is not None else []

    # -- the config

    def reload(
        self,
        config: ModelServerConfig,
        keep_waiting: Callable[[], bool] = lambda: True,
        roots: Collection[str] | None = None,
    ) -> None:
        """Replaces the list of models, and waits until those that are new in it are available.

        Versions that a model already had keep serving until their successors are loaded. A config that is refused
        changes nothing.

        Args:
          keep_waiting: asked while another reload goes on, after which False means that this one never begins, and
            while new models load, which they do also behind a caller who has stopped waiting.
          roots: in which base paths have to lie; None for anywhere.

        Raises:
          StatusError: INVALID_ARGUMENT, FAILED_PRECONDITION or PERMISSION_DENIED, the config is refused; UNKNOWN, a new model did not
            become available.
        """
        with self._turn(keep_waiting) as mine:
            if not mine:
                return
            first = self._served is None
            if not first and not config.HasField("model_config_list"):
                message = "Cannot transition to requested config. It is only legal to transition from one "
                raise StatusError(Code.FAILED_PRECONDITION, f"{message}ModelConfigList to another.")
            if config.HasField("custom_model_config"):
                raise StatusError(Code.INVALID_ARGUMENT, "ModelServer does not yet support custom model config.")
            if not config.HasField("model_config_list"):
                log.info("taking no action for empty config")
                return
            models = model_config.models(config, self._served or ())
            if roots is not None:
                model_config.check_places(models.values(), roots)
            self._labels = self._checked_labels(models)
            new = set(models) - set(self._served or ())
            self._apply(models)
            self._wait(new, "servable" if first else "model", keep_waiting)

    @contextmanager
    def _turn(self, keep_waiting: Callable[[], bool]) -> Iterator[bool]:
        """Waits for the reload before this one; False when the caller has stopped waiting."""
        while not (mine := self._reloading.acquire(timeout=WATCH_SECONDS)) and keep_waiting():
            pass
        try:
            yield mine
        finally:
            if mine:
                self._reloading.release()

    def stop(self) -> None:
        """Ends the polling and closes every servable."""
        for manager in list(self._managers.values()):
            manager.stop()

    def _checked_labels(self, models: Mapping[str, ModelConfig]) -> Labels:
        """UpdateModelVersionLabelMap: checked against what is available before anything of the config is loaded."""
        for model in models.values():
            available = {version.number for version in self.states(model.name) if version.state is State.AVAILABLE}
            for label, number in model.labels.items():
                if number not in available and not self._may_name_unavailable(model.name, label, number):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {model.name}, "
                        "which is not currently available for inference",
                    )
        return {model.name: model.labels for model in models.values()}

    def _may_name_unavailable(self, name: str, label: str, number: int) -> bool:
        """With the flag, a label that is new; one that clients already use must not move to nothing."""
        allowed = self._polling.allow_version_labels_for_unavailable_models
        return allowed and self._labels.get(name, {}).get(label, number) == number

    def _apply(self, models: Mapping[str, ModelConfig]) -> None:
        for name in set(self._served or ()) - set(models):
            self._managers[name].configure(None)
        for model in models.values():
            manager = self._managers.get(model.name) or self._start(model.name)
            manager.configure(storage.path(model.base_path), model.policy)
        self._served = list(models)

    def _start(self, name: str) -> VersionManager[T]:
        manager = VersionManager(name, self._load, self._polling.retries)
        self._managers = {**self._managers, name: manager}  # replaced, not changed: requests read it without a lock
        wait_seconds = self._polling.file_system_poll_wait_seconds
        threading.Thread(target=manager.run, args=(wait_seconds,), name=f"poll-{name}", daemon=True).start()
        return manager

    def _wait(self, names: Collection[str], noun: str, keep_waiting: Callable[[], bool]) -> None:
        pause = threading.Event()
        waiting = [self._managers[name] for name in sorted(names)]
        failures: list[str] = []
        while waiting and keep_waiting():
            for manager in list(waiting):
                outcome = self._outcome(manager)
                if outcome is not None:
                    waiting.remove(manager)
                    failures += [outcome] if outcome else []
            pause.wait(WATCH_SECONDS if waiting else 0)
        if failures:
            text = "".join(f"{failure}, " for failure in failures)
            message = f"{len(failures)} {noun}(s) did not become available: {{{text}}}"
            raise StatusError(Code.UNKNOWN, message)

    def _outcome(self, manager: VersionManager[T]) -> str | None:
        """ "" once a version is available, words when all have failed, None while that is open."""
        states = manager.states()
        if any(version.state is State.AVAILABLE for version in states):
            return ""
        if not manager.polled:
            return None
        if not states:
            never = self._polling.file_system_poll_wait_seconds == 0
            return f"{{no version of {manager.name} was found, and it is not polled for}}" if never else None
        if any(version.state is not State.END or version.error is None for version in states):
            return None
        failed = states[0]
        return f"{{{{name: {manager.name} version: {failed.number}}} due to error: {failed.error}}}"
