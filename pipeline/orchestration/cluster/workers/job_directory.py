"""The directory of a training on several pods, on the volume that they share with the pod that launches them.

    <workdir>/jobs/<job>/
      request.json         what the workers are to train
      records/, teacher/   copies of artifacts, which lie where only the launcher sees them
      partial/             what the chief is writing
      result/              that once it is complete: model/ and logs/
      problem.txt          the sentence of a worker for which another attempt would end the same

Every file appears complete or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.common import files
from pipeline.components import trainer

_MODEL, _LOGS = "model", "logs"


@dataclass(frozen=True)
class JobDirectory:
    """One job's; the launcher calls `stage`, `hand_on` and `remove`, the workers `fn_args`, `finish` and `refuse`."""

    root: Path

    @property
    def request(self) -> Path:
        return self.root / "request.json"

    @property
    def finished(self) -> bool:
        return self._result.is_dir()

    @property
    def problem(self) -> str:
        """Empty while there is none."""
        return self._problem.read_text().strip() if self._problem.is_file() else ""

    def stage(self, fn_args: FnArgs) -> None:
        """Copies what the workers need of a Trainer's artifacts, but for what an earlier call has copied already.

        Raises OSError where the volume is full, missing or not to be written.
        """
        self._problem.unlink(missing_ok=True)
        request = {
            "train_files": [self._record(name) for name in trainer.files(fn_args.train_files)],
            "eval_files": [self._record(name) for name in trainer.files(fn_args.eval_files)],
            "base_model": self._teacher(fn_args.base_model) if fn_args.base_model else None,
            "custom_config": fn_args.custom_config,
        }
        files.write_text(self.request, json.dumps(request))

    def fn_args(self) -> FnArgs:
        """What the request says, as TFX says it, with places for what is made of it."""
        places = {"serving_model_dir": str(self._partial / _MODEL), "model_run_dir": str(self._partial / _LOGS)}
        return FnArgs(**json.loads(self.request.read_text()), **places)

    def clear(self) -> None:
        """Removes the model that an earlier attempt did not finish; its logs go on."""
        shutil.rmtree(self._partial / _MODEL, ignore_errors=True)

    def finish(self) -> None:
        """The model is complete."""
        (self._partial / _LOGS).mkdir(exist_ok=True)
        os.rename(self._partial, self._result)

    def refuse(self, sentence: str) -> None:
        """Tells the launcher that no attempt of a worker can succeed."""
        files.write_text(self._problem, sentence + "\n")

    def hand_on(self, fn_args: FnArgs) -> None:
        """Copies model and logs to where a Trainer's artifacts have them.

        Raises ValueError where there is nothing, which is so when workers and launcher have mounted different volumes.
        """
        if not self.finished:
            raise ValueError(
                f"the workers have left no model in {self.root}: do they mount the volume of their launcher?"
            )
        for name, place in ((_MODEL, fn_args.serving_model_dir), (_LOGS, fn_args.model_run_dir)):
            partial = files.beside(Path(place))
            shutil.copytree(self._result / name, partial)
            shutil.rmtree(place, ignore_errors=True)
            os.rename(partial, place)

    def remove(self) -> None:
        """Removes everything, under another name first: what is left of it when this is killed looks like no job."""
        gone = files.beside(self.root)
        if self.root.is_dir():
            os.rename(self.root, gone)
            shutil.rmtree(gone, ignore_errors=True)

    @property
    def _partial(self) -> Path:
        return self.root / "partial"

    @property
    def _result(self) -> Path:
        return self.root / "result"

    @property
    def _problem(self) -> Path:
        return self.root / "problem.txt"

    def _record(self, name: str) -> str:
        """The copy of a TFRecord, which keeps the name of its split: a training is named by both."""
        place = self.root / "records" / Path(name).parent.name / Path(name).name
        return _copy(Path(name), place)

    def _teacher(self, model: str) -> str:
        place = self.root / "teacher"
        for file in (path for path in Path(model).rglob("*") if path.is_file()):
            _copy(file, place / file.relative_to(model))
        return str(place)


def _copy(source: Path, place: Path) -> str:
    if not place.is_file() or place.stat().st_size != source.stat().st_size:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = files.beside(place)
        try:
            shutil.copyfile(source, partial)
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)
    return str(place)
