"""Which Beam runners a run may use, and what each must be told; refuses the others before anything runs.

See docs/scaling.md for the arguments of a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.checked import nearest

if TYPE_CHECKING:
    from pipeline.config.config import BeamConfig

_WORKERS = ("environment_type",)
# What Beam would otherwise fill in: a cluster of its own on this machine, or a place that it does not have.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "FnApiRunner": (),
    "PortableRunner": ("job_endpoint", *_WORKERS),
    "FlinkRunner": ("flink_master", *_WORKERS),
    "SparkRunner": ("spark_master_url", *_WORKERS),
    "DataflowRunner": ("project", "region", "temp_location", "sdk_container_image"),
}
UNFIT: Mapping[str, str] = {
    "DirectRunner": "hands over to a runner that it downloads",
    "SwitchingDirectRunner": "hands over to a runner that it downloads",
    "PrismRunner": "downloads the program that runs the job",
    "DaskRunner": "was seen to write an empty file and to report success",
}
ENVIRONMENTS: Mapping[str, str] = {
    "EXTERNAL": "the host:port of a worker pool",
    "DOCKER": "an image with this project in it",
    "PROCESS": "a JSON object with the command of a worker",
    "LOOPBACK": "",
}


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises ValueError where `beam.pipeline_args` names no fit runner, or not what the runner needs."""
    given = _options(arguments)
    runner = _canonical(given.get("runner", ""))
    told = f"--runner=FnApiRunner on this machine, and {', '.join(list(NEEDS)[1:])}"
    if runner in UNFIT:
        raise ValueError(f"beam.pipeline_args names {runner}, which {UNFIT[runner]}; {nearest('', NEEDS, told)}")
    if runner not in NEEDS:
        named = (
            f"names runner {given['runner']!r}, which is none of those that a run can use"
            if "runner" in given
            else "names no --runner"
        )
        raise ValueError(f"beam.pipeline_args {named}; {nearest(runner, NEEDS, told)}")
    missing = [f"--{name}" for name in NEEDS[runner] if not given.get(name)]
    if missing:
        raise ValueError(f"beam.pipeline_args has no {', no '.join(missing)}, which {runner} needs")
    if "environment_type" in given:
        _check_environment(given)
    if runner == "DataflowRunner" and not given["temp_location"].startswith("gs://"):
        raise ValueError(
            f"--temp_location of beam.pipeline_args is {given['temp_location']!r}: Dataflow needs a bucket, as in gs://bucket/tmp"
        )


def arguments(config: BeamConfig) -> list[str]:
    """`beam.pipeline_args` as TFX gets them.

    Where workers are this process or its children they have TFX. TFX would pack itself for them all the same, 42 MB a
    component that it never removes, unless an image is named, at which a runner without containers does not look.
    """
    given = list(config.pipeline_args)
    own = _canonical(_options(given).get("runner", "")) == "FnApiRunner"
    return [*given, "--sdk_container_image=none"] if own else given


def _check_environment(given: Mapping[str, str]) -> None:
    """Where the runner's workers find this project. Raises ValueError."""
    kind = given["environment_type"]
    if kind not in ENVIRONMENTS:
        raise ValueError(f"--environment_type of beam.pipeline_args is {kind!r}: legal are {', '.join(ENVIRONMENTS)}")
    told = given.get("environment_config") or given.get("environment_option") or given.get("environment_options")
    if ENVIRONMENTS[kind] and not told:
        raise ValueError(
            f"beam.pipeline_args has --environment_type={kind} without --environment_config: {ENVIRONMENTS[kind]} is needed"
        )


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """`--name=value` and `--name value`; the last of a name holds, as in Beam."""
    found = {}
    for argument, following in zip(arguments, (*arguments[1:], "--"), strict=False):
        if argument.startswith("--"):
            name, equals, value = argument.removeprefix("--").partition("=")
            found[name] = value if equals or following.startswith("--") else following
    return found


def _canonical(name: str) -> str:
    """A runner's name as Beam reads it: any case, with or without `Runner`, with or without its module."""
    bare = name.rsplit(".", 1)[-1]
    known = {runner.lower(): runner for runner in (*NEEDS, *UNFIT)}
    return known.get(bare.lower()) or known.get(f"{bare.lower()}runner") or bare
