"""The command line of tensorflow_model_server 2.16.1, and what this server makes of each flag.

A flag is honoured (a field of `Flags`), said to have no effect where that cannot change an answer (`WITHOUT_EFFECT`), or
refused by name where it could (`REFUSED`). Forms as in TensorFlow's flag parser: `--flag=value`, and `--flag`,
`--flag=true` or `--flag=false` for booleans; the last mention counts.
https://github.com/tensorflow/serving/blob/2.16.1/tensorflow_serving/model_servers/main.cc
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from serving.server import limits
from serving.server.limits import Limits

SERVING_VERSION = "2.16.1"  # whose flags, messages and statuses these are
THREADS = 4 * (os.cpu_count() or 1)


def _integer(lowest: int, highest: int = 2**63 - 1) -> Callable[[str], int]:
    legal = f"{lowest} or more" if highest == 2**63 - 1 else f"{lowest} to {highest}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not legal; legal is a whole number, {legal}")
        return value

    return parse


def _seconds(text: str) -> float:
    """The real server takes whole seconds; a part of one helps tests."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no waiting time; legal is 0 or more")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction; legal is 0.0 to 1.0")
    return value


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is no boolean; legal is true or false")
    return text == "true"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no IP address; legal is one of this machine's, as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """`key=value` pairs between commas; values that are whole numbers become such."""
    pairs = [pair.split("=", 1) for pair in text.split(",") if pair]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of gRPC arguments; legal is key=value,key=value")
    return tuple((key, int(value) if value.lstrip("-").isdecimal() else value) for key, value in pairs)


def _places(text: str) -> tuple[str, ...]:
    places = tuple(filter(None, text.split(",")))
    if any(not place.startswith("/") and "://" not in place for place in places):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of places; legal is /a,/b or s3://bucket/a")
    return places


_port = _integer(0, 65535)
_count = _integer(0)
_positive = _integer(1)


@dataclass(frozen=True)
class Flags:
    """What the server was asked to do; paths as given, times in the unit of the name."""

    # ---- sockets
    port: Annotated[
        int, _port, "gRPC port; 0 chooses a free one (the real server: none), or none with a socket path"
    ] = 8500
    grpc_socket_path: Annotated[str, str, "UNIX socket of the gRPC API, besides the port"] = ""
    grpc_channel_arguments: Annotated[
        tuple[tuple[str, int | str], ...],
        _channel_arguments,
        "gRPC server arguments, as in grpc.max_connection_age_ms=2000",
    ] = ()
    grpc_max_threads: Annotated[int, _positive, "threads that answer gRPC requests"] = THREADS
    enable_grpc_healthcheck_service: Annotated[bool, _boolean, "serve grpc.health.v1"] = False
    ssl_config_file: Annotated[Path | None, _path, "SSLConfig text proto: TLS on the gRPC port"] = None
    rest_api_port: Annotated[int, _port, "port of the REST API and of the metrics; 0: none"] = 0
    rest_api_num_threads: Annotated[int, _positive, "threads that answer REST requests"] = THREADS
    rest_api_timeout_in_ms: Annotated[int, _integer(-(2**31), 2**31 - 1), "time limit of a REST request's run"] = 30_000
    rest_api_enable_cors_support: Annotated[bool, _boolean, "CORS headers in REST responses"] = False
    monitoring_config_file: Annotated[
        Path | None, _path, "MonitoringConfig text proto: Prometheus on the REST port"
    ] = None
    # ---- models
    model_name: Annotated[str, str, "name of the model in requests; not with --model_config_file"] = "default"
    model_base_path: Annotated[str, str, "absolute path, s3://… or gs://…, that holds the version directories"] = ""
    model_config_file: Annotated[
        Path | None, _path, "ModelServerConfig text proto: several models, policies, labels"
    ] = None
    model_config_file_poll_wait_seconds: Annotated[float, _seconds, "between readings of the config; 0: only once"] = (
        0.0
    )
    file_system_poll_wait_seconds: Annotated[float, _seconds, "between looks at the versions; 0: only once"] = 1.0
    max_num_load_retries: Annotated[int, _count, "attempts after a version's first that failed"] = 5
    load_retry_interval_micros: Annotated[int, _integer(-(2**63)), "between attempts; negative: none"] = 60_000_000
    allow_version_labels_for_unavailable_models: Annotated[
        bool, _boolean, "new labels may name versions that are not available yet"
    ] = False
    saved_model_tags: Annotated[str, str, "comma-separated tags of the graph to load"] = "serve"
    enable_model_warmup: Annotated[bool, _boolean, "replay assets.extra/tf_serving_warmup_requests at load"] = True
    num_request_iterations_for_warmup: Annotated[int, _integer(-(2**31)), "replays of each request, where above 0"] = 0
    enable_signature_method_name_check: Annotated[bool, _boolean, "a request needs a signature of its own method"] = (
        False
    )
    # ---- runs
    enable_batching: Annotated[bool, _boolean, "requests of equal shapes share a run"] = False
    batching_parameters_file: Annotated[Path | None, _path, "BatchingParameters text proto"] = None
    tensorflow_session_parallelism: Annotated[int, _count, "threads across and within operations; 0: automatic"] = 0
    tensorflow_intra_op_parallelism: Annotated[int, _count, "threads within an operation; 0: automatic"] = 0
    tensorflow_inter_op_parallelism: Annotated[int, _count, "threads across operations; 0: automatic"] = 0
    tensorflow_session_config_file: Annotated[Path | None, _path, "ConfigProto text proto of every session"] = None
    per_process_gpu_memory_fraction: Annotated[float, _fraction, "of a GPU's memory; 0: automatic"] = 0.0
    # ---- this server's own: tensorflow_model_server does not know them
    stemline_host: Annotated[
        str, _address, "ours: the address whose ports are opened; 0.0.0.0: every one of this machine, so for others"
    ] = "127.0.0.1"
    stemline_model_service_port: Annotated[
        int | None,
        _port,
        "ours: port of ModelService alone, so that --port can be exposed without it; 0: no ModelService",
    ] = None
    stemline_page: Annotated[bool, _boolean, "ours: a page to try the models, at / of the REST port"] = False
    stemline_reload_roots: Annotated[
        tuple[str, ...],
        _places,
        "ours: directories, between commas, below which HandleReloadConfigRequest may name base paths; without it the base "
        "paths that were configured at the start",
    ] = ()
    limits: Limits = field(default_factory=Limits)


WITHOUT_EFFECT: dict[str, tuple[Callable[[str], Any], str]] = {  # name -> (what it takes, why)
    "num_load_threads": (_count, "every model loads in a thread of its own"),
    "num_unload_threads": (_count, "every model unloads in a thread of its own"),
    "flush_filesystem_caches": (_boolean, "the operating system keeps and drops what it has read"),
    "remove_unused_fields_from_bundle_metagraph": (_boolean, "TensorFlow's Python runtime keeps the graph it needs"),
    "xla_cpu_compilation_enabled": (_boolean, "TensorFlow's Python runtime decides what is compiled"),
    "skip_initialize_tpu": (_boolean, "no TPU is used"),
    "enable_profiler": (_boolean, "there is no profiler"),
    "num_tflite_pools": (_count, "TensorFlow Lite models are not served"),
    "num_tflite_interpreters_per_pool": (_count, "TensorFlow Lite models are not served"),
}

REFUSED: dict[str, tuple[str, str]] = {  # name -> (the value that asks for nothing, why not)
    "platform_config_file": ("", "only TensorFlow models are served, each with the same options"),
    "use_alts_credentials": ("false", "ALTS exists in Google's cloud alone; use --ssl_config_file"),
    "prefer_tflite_model": ("false", "TensorFlow Lite models are not served"),
    "thread_pool_factory_config_file": ("", "thread pools cannot be plugged in"),
    "mixed_precision": ("", "it would change the answers"),
    "enable_per_model_batching_parameters": ("false", "all models share the parameters of --batching_parameters_file"),
}


def parse(argv: Sequence[str] | None) -> Flags:
    """The flags of a command line; one that is wrong or unknown ends the process with a sentence and exit code 2.

    One that has no effect is named on standard error, with the reason.
    """
    parser = argparse.ArgumentParser(
        "serving.server",
        usage="%(prog)s --flag=value ...; --help lists the flags",
        description="TensorFlow Serving's protocol, flags and answers.",
        allow_abbrev=False,
    )
    _declare(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    for stray in (word for word in words if not word.startswith("--") and word != "-h"):
        parser.error(f"unknown argument: {stray}; flags are given as --flag=value")
    known, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"unknown argument: {unknown[0]}")
    for name, (nothing, reason) in REFUSED.items():
        if getattr(known, name) != nothing:
            parser.error(f"--{name}={getattr(known, name)} is not supported by this server: {reason}")
    values = {name: getattr(known, name) for name in _honoured()}
    flags = Flags(**values, limits=limits.from_flags(known))
    if problem := _contradiction(flags):
        parser.error(problem)
    for name, (_, reason) in WITHOUT_EFFECT.items():
        if getattr(known, name) is not None:
            print(f"--{name} has no effect here: {reason}", file=sys.stderr, flush=True)
    return flags


def _declare(parser: argparse.ArgumentParser) -> None:
    version = f"TensorFlow ModelServer: {SERVING_VERSION} (stemline, embedded)"
    version += f"\nTensorFlow Library: {metadata.version('tensorflow')}"
    parser.add_argument("--version", action="version", version=version)
    for name, (kind, words, default) in _honoured().items():
        _add(parser, name, kind, default, words)
    limits.add_flags(parser)
    for name, (kind, reason) in WITHOUT_EFFECT.items():
        _add(parser, name, kind, None, f"has no effect here: {reason}")
    for name, (nothing, reason) in REFUSED.items():
        _add(parser, name, _boolean_text if nothing == "false" else str, nothing, f"refused: {reason}")


def _honoured() -> dict[str, tuple[Callable[[str], Any], str, Any]]:
    """Parser, words and default of the flags that are fields of `Flags`; the limits declare their own."""
    hints = get_type_hints(Flags, include_extras=True)
    return {
        item.name: (*get_args(hints[item.name])[1:], item.default) for item in fields(Flags) if item.name != "limits"
    }


def _add(parser: argparse.ArgumentParser, name: str, kind: Callable, default: Any, words: str) -> None:
    bare: dict[str, Any] = {}
    if kind in (_boolean, _boolean_text):
        bare = {"nargs": "?", "const": kind("true")}
    parser.add_argument(f"--{name}", type=kind, default=default, help=words.replace("%", "%%"), **bare)


def _boolean_text(text: str) -> str:
    return str(_boolean(text)).lower()


def _contradiction(flags: Flags) -> str:
    """What is wrong, in the real server's words where it refuses it; empty if nothing is."""
    if not flags.model_base_path and flags.model_config_file is None:
        return "Both server_options.model_base_path and server_options.model_config_file are empty!"
    if not flags.model_name and flags.model_config_file is None:
        return "--model_name is empty: no request could name the model"
    if flags.batching_parameters_file is not None and not flags.enable_batching:
        return "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        return "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API."
    if flags.stemline_page and not flags.rest_api_port:
        return "--stemline_page is a page of the REST port, which --rest_api_port opens"
    threads = (flags.tensorflow_session_parallelism, flags.tensorflow_intra_op_parallelism)
    if all(threads) and flags.tensorflow_inter_op_parallelism:
        return (
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    return ""
