"""The embedded model server: TensorFlow Serving's protocol, flags and answers where its binary is not at hand.

    python -m serving.server --port=8500 --rest_api_port=8501 --model_name=stemline --model_base_path=/models/stemline

Prints `Running gRPC ModelServer at 127.0.0.1:8500 ...` once every model is loaded and the ports are open, so also which
port was chosen for --port=0. SIGTERM and SIGINT finish the requests under way and exit 0. Exit codes: 1 a model cannot
be loaded, 2 a flag, a config or a port cannot be used. The flags are in serving/server/flags.py.
"""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn

if (
    __name__ == "__main__"
):  # what grpc reads when it is imported; else it writes a line for every stranger who speaks no TLS
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from serving.server import logs, runtime
from serving.server.flags import Flags, parse
from serving.wire.words import printable

if TYPE_CHECKING:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    from serving.server.api.http_server import RestServer
    from serving.server.models.batching_parameters import BatchingParameters
    from serving.server.models.registry import ServerCore
    from serving.server.models.servable import Servable

log = logging.getLogger("serving.server")

DRAIN_SECONDS = 30.0
MOST_FILES = 2**16
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its requests in silence
    ("grpc.server_handshake_timeout_ms", 10_000),  # two minutes by itself
    ("grpc.max_connection_idle_ms", 300_000),  # without a call; a client connects again when it has one
    ("grpc.max_connection_age_ms", 3_600_000),  # after which calls go to a new one, and
    ("grpc.max_connection_age_grace_ms", 300_000),  # those that still stand are ended
    ("grpc.keepalive_time_ms", 60_000),  # a client that is gone without a word is noticed
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # and may ask for the same while it waits for an answer
]


class StartError(ValueError):
    """The server cannot start; one sentence."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ports:
    """What flags and their files say of the ports: TLS (None: plain text), where Prometheus reads (empty: nowhere), in
    which places a reload may name models."""

    credentials: grpc.ServerCredentials | None
    metrics_path: str
    reload_roots: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    try:
        flags = parse(argv)
        runtime.only()
        _set_on_signals(stopping)
        for flag in ("port", "rest_api_port", "stemline_model_service_port"):
            _check_port(flag, flags.stemline_host, getattr(flags, flag) or 0)
        start(flags, stopping)
    except StartError as error:
        print(printable(f"Failed to start server. Error: {error}".replace("\n", " ")), file=sys.stderr, flush=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        sentence = f"package {error.name} is not installed: pip install 'stemline[server]'"
        print(f"Failed to start server. Error: {sentence}", file=sys.stderr, flush=True)
        return 2
    return 0


def _set_on_signals(stopping: threading.Event) -> None:
    """A handler may interrupt this thread where it holds the event's lock, and must take none: `SimpleQueue.put` takes none."""
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    threading.Thread(target=lambda: (signals.get(), stopping.set()), daemon=True, name="signals").start()


def start(flags: Flags, stopping: threading.Event) -> None:
    """Loads the models, opens the ports, answers until `stopping` is set, drains.

    Raises:
      StartError: a model does not load, a config is wrong, or a port is taken.
    """
    _quiet()
    _take_files()
    from serving.server.tls import server_credentials

    credentials = None if flags.ssl_config_file is None else _read(server_credentials, flags.ssl_config_file)
    config = _model_config(flags)
    roots = flags.stemline_reload_roots or tuple(model.base_path for model in config.model_config_list.config)
    ports = Ports(credentials, _metrics_path(flags), roots)
    core = _core(flags)  # TensorFlow takes seconds to import: what can be checked without it is checked before
    gc.freeze()  # what is imported stays: looking for the garbage of a model that goes takes 4 ms instead of 200
    try:
        _load_models(core, config, flags, stopping)
        if not stopping.is_set():
            _answer(core, flags, ports, stopping)
    finally:
        core.stop()


# ---- models


def _core(flags: Flags) -> ServerCore:
    from serving.server.models.registry import Polling, ServerCore
    from serving.server.models.versions import Retries

    retries = Retries(flags.max_num_load_retries, max(0, flags.load_retry_interval_micros) / 1e6)
    allow = flags.allow_version_labels_for_unavailable_models
    return ServerCore(_loader(flags), Polling(flags.file_system_poll_wait_seconds, retries, allow))


def _loader(flags: Flags) -> Callable[[Path], Servable]:
    """Makes a servable of a version directory.

    Raises:
      StartError: the session's config or the batching parameters cannot be used.
    """
    batching, session = _batching(flags), _session_config(flags)
    from serving.server.models.servable import Options, Servable

    options = Options(
        tags=tuple(flags.saved_model_tags.split(",")),
        session=session,
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
        check_method_names=flags.enable_signature_method_name_check,
        batching=batching,
        limits=flags.limits,
    )
    return partial(Servable, options=options)


def _session_config(flags: Flags):
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    from serving.server import textproto

    config = ConfigProto()
    if flags.tensorflow_session_config_file is not None:
        _read(partial(textproto.read, into=config), flags.tensorflow_session_config_file)
    apart = flags.tensorflow_intra_op_parallelism or flags.tensorflow_inter_op_parallelism
    both = flags.tensorflow_session_parallelism
    intra, inter = (
        (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism) if apart else (both, both)
    )
    if intra or inter:
        config.intra_op_parallelism_threads, config.inter_op_parallelism_threads = intra, inter
    # without pools of its own a session shares those of the first that was made in the process, and their size
    config.use_per_session_threads = config.use_per_session_threads or bool(config.inter_op_parallelism_threads)
    if flags.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    return config


def _batching(flags: Flags) -> BatchingParameters | None:
    from serving.server.models.batching_parameters import BatchingParameters, read_parameters

    if not flags.enable_batching:
        return None
    if flags.batching_parameters_file is None:
        return BatchingParameters()
    return _read(read_parameters, flags.batching_parameters_file)


def _read(reader: Callable, path: Path):
    try:
        return reader(path)
    except ValueError as error:
        raise StartError(str(error), 2) from error


def _model_config(flags: Flags) -> ModelServerConfig:
    from serving.server.models import model_config
    from serving.wire.status import StatusError

    if flags.model_config_file is not None:
        config = _read(model_config.read, flags.model_config_file)
    else:
        config = model_config.of_one_model(flags.model_name, flags.model_base_path)
    try:
        models = model_config.models(config)
    except StatusError as error:
        raise StartError(str(error), 2) from error
    for model in models.values():
        log.info("loading model %s from %s", model.name, model.base_path)
    return config


def _load_models(core: ServerCore, config: ModelServerConfig, flags: Flags, stopping: threading.Event) -> None:
    """Returns when every model has a version that is available, or when the server shall stop."""
    from serving.wire.status import Code, StatusError

    try:
        core.reload(config, lambda: not stopping.is_set())
    except StatusError as error:
        raise StartError(str(error), 1 if error.code is Code.UNKNOWN else 2) from error
    if flags.model_config_file is not None and flags.model_config_file_poll_wait_seconds:
        polling = (core, flags.model_config_file, flags.model_config_file_poll_wait_seconds, stopping)
        threading.Thread(target=_poll_config, args=polling, name="poll-config", daemon=True).start()


def _poll_config(core: ServerCore, path: Path, wait_seconds: float, stopping: threading.Event) -> None:
    """Applies the config file again and again; one that is wrong is logged and changes nothing."""
    from serving.server.models import model_config
    from serving.wire.status import StatusError

    while not stopping.wait(wait_seconds):
        try:  # without waiting for new models: a wrong path in one must not keep the corrected file from being read
            core.reload(model_config.read(path), lambda: False)
        except (ValueError, StatusError) as error:
            log.error("the models stay as they are: %s", error)


# ---- ports


def _answer(core: ServerCore, flags: Flags, ports: Ports, stopping: threading.Event) -> None:
    servers = _grpc_servers(core, flags, ports.reload_roots)
    port = 0
    if flags.grpc_socket_path:
        _bind(servers[0], "grpc_socket_path", f"unix:{flags.grpc_socket_path}", ports.credentials)
    if flags.port or not flags.grpc_socket_path:
        port = _bind(servers[0], "port", _address(flags, flags.port), ports.credentials)
    if flags.stemline_model_service_port:
        address = _address(flags, flags.stemline_model_service_port)
        _bind(servers[1], "stemline_model_service_port", address, ports.credentials)
    rest = _rest_server(core, flags, ports.metrics_path)
    for server in servers:
        server.start()
    log.info("limits that TensorFlow Serving does not have (0 lifts one): %s", flags.limits)
    _announce(flags, port)
    stopping.wait()
    drained = [server.stop(DRAIN_SECONDS) for server in servers]
    if rest is not None:
        rest.stop()
    for done in drained:
        done.wait()


def _grpc_servers(core: ServerCore, flags: Flags, reload_roots: tuple[str, ...]) -> list[grpc.Server]:
    """The main server, and one of ModelService alone where it has a port of its own."""
    from serving.server.api import grpc_api
    from serving.server.api.reflection import add_reflection

    main_server = _grpc_server(flags)
    grpc_api.add_prediction_service(main_server, core)
    if flags.enable_grpc_healthcheck_service:
        grpc_api.add_health_service(main_server)
    own_port = flags.stemline_model_service_port
    if own_port is None:
        grpc_api.add_model_service(main_server, core, reload_roots)
        add_reflection(main_server, [grpc_api.PREDICTION_SERVICE, grpc_api.MODEL_SERVICE])
        return [main_server]
    add_reflection(main_server, [grpc_api.PREDICTION_SERVICE])
    if own_port == 0:
        return [main_server]
    model_server = _grpc_server(flags)
    grpc_api.add_model_service(model_server, core, reload_roots)
    add_reflection(model_server, [grpc_api.MODEL_SERVICE])
    return [main_server, model_server]


def _grpc_server(flags: Flags) -> grpc.Server:
    """With the limits and channel arguments of the flags, which come last and so count."""
    from serving.server.api.grpc_door import Door

    options = list(dict([*CHANNEL_OPTIONS, *flags.limits.channel_options, *flags.grpc_channel_arguments]).items())
    door = Door(flags.limits, flags.grpc_max_threads)
    threads = ThreadPoolExecutor(door.threads)
    return grpc.server(threads, interceptors=[door], options=options, maximum_concurrent_rpcs=door.threads)


def _bind(server: grpc.Server, flag: str, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise _address_error(flag, address.rpartition(":")[2], "Address already in use")
    return bound


def _rest_server(core: ServerCore, flags: Flags, metrics_path: str) -> RestServer | None:
    """Started; None without --rest_api_port."""
    if not flags.rest_api_port:
        return None
    from serving.server.api.http_server import RestServer

    server = RestServer(core, flags, metrics_path, DRAIN_SECONDS)
    try:
        server.start(flags.stemline_host, flags.rest_api_port)
    except OSError as error:
        raise _address_error("rest_api_port", flags.rest_api_port, error.strerror or str(error)) from error
    return server


def _metrics_path(flags: Flags) -> str:
    from serving.server import monitoring, textproto

    if flags.monitoring_config_file is None:
        return ""
    config = _read(partial(textproto.read, into=textproto.message("MonitoringConfig")), flags.monitoring_config_file)
    prometheus = config.prometheus_config
    return (prometheus.path or monitoring.DEFAULT_PATH) if prometheus.enable else ""


def _announce(flags: Flags, port: int) -> None:
    if port:
        print(f"Running gRPC ModelServer at {_address(flags, port)} ...", flush=True)
    if flags.grpc_socket_path:
        print(f"Running gRPC ModelServer at UNIX socket {flags.grpc_socket_path} ...", flush=True)
    if flags.rest_api_port:
        print(f"Exporting HTTP/REST API at:localhost:{flags.rest_api_port} ...", flush=True)
    if flags.stemline_page:
        print(f"Page to try it at http://{_named(flags)}:{flags.rest_api_port}/", flush=True)


def _address(flags: Flags, port: int) -> str:
    host = flags.stemline_host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _named(flags: Flags) -> str:
    """The host as a browser on this machine is told it."""
    address = ipaddress.ip_address(flags.stemline_host)
    if address.is_loopback or address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)


def _check_port(flag: str, host: str, port: int) -> None:
    """Says that the port is taken before seconds go into loading; binding it has the last word."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRNOTAVAIL:
                words = (
                    f"no port of {host} can be opened: {reason}; legal in --stemline_host are this machine's addresses"
                )
                raise StartError(words, 2) from error
            raise _address_error(flag, port, reason) from error


def _address_error(flag: str, where: int | str, reason: str) -> StartError:
    free = ", or 0 for a free one" if flag == "port" else ""
    kind = "socket" if flag == "grpc_socket_path" else "port"
    return StartError(f"{kind} {where} cannot be opened: {reason}; choose another with --{flag}{free}", 2)


def _quiet() -> None:
    """Leaves what an operator needs in the log; only this process's, before TensorFlow is first imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    handler = logging.StreamHandler()
    handler.setFormatter(logs.Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(logs.Flood())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it quotes what it cannot read, and payloads stay out


def _take_files() -> None:
    """As many open files as the system allows: a connection is one, and 1024, a usual limit, are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def leave(code: int) -> NoReturn:
    """Ends the process at once: a thread that waits for a bucket that does not answer would abort it as Python ends it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
