"""The command line: every flag of tensorflow_model_server 2.16.1 is honoured, said to have no effect, or refused."""

from dataclasses import fields
from pathlib import Path

import pytest

from serving.server import flags

BASE = "--model_base_path=/models/m"

# every tensorflow::Flag in model_servers/main.cc of 2.16.1, in its order
NAMES = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name
model_base_path num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros
file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
enable_profiler thread_pool_factory_config_file mixed_precision skip_initialize_tpu enable_grpc_healthcheck_service
"""
REAL = set(NAMES.split())


def refusal(capsys, *argv: str) -> str:
    """The last line of a command line that is refused."""
    with pytest.raises(SystemExit) as caught:
        flags.parse(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].removeprefix("serving.server: error: ")


def test_every_flag_of_the_real_server_has_one_place():
    honoured = {field.name for field in fields(flags.Flags)} - {"limits"}
    ours = {name for name in honoured if name.startswith("stemline_")}
    places = [honoured - ours, set(flags.WITHOUT_EFFECT), set(flags.REFUSED), {"version"}]
    assert set.union(*places) == REAL
    assert sum(map(len, places)) == len(REAL)


def test_the_defaults_are_the_real_servers():
    parsed = flags.parse([BASE])
    assert (parsed.port, parsed.rest_api_port, parsed.model_name) == (8500, 0, "default")
    assert (parsed.file_system_poll_wait_seconds, parsed.model_config_file_poll_wait_seconds) == (1, 0)
    assert (parsed.max_num_load_retries, parsed.load_retry_interval_micros) == (5, 60_000_000)
    assert (parsed.rest_api_timeout_in_ms, parsed.saved_model_tags) == (30_000, "serve")
    assert parsed.enable_model_warmup
    off = "enable_batching enable_grpc_healthcheck_service rest_api_enable_cors_support"
    assert not any(getattr(parsed, name) for name in off.split())


@pytest.mark.parametrize(("text", "value"), [("", True), ("=true", True), ("=false", False)])
def test_booleans_take_the_real_parsers_forms(text, value):
    assert flags.parse([BASE, "--enable_batching=false", f"--enable_batching{text}"]).enable_batching is value


def test_values_become_what_they_mean():
    parsed = flags.parse(
        [
            BASE,
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.default_compression_algorithm=gzip",
            "--batching_parameters_file=/b",
            "--enable_batching",
            "--load_retry_interval_micros=-1",
            "--stemline_max_batch_size=7",
        ]
    )
    assert parsed.grpc_channel_arguments == (
        ("grpc.max_connection_age_ms", 2000),
        ("grpc.default_compression_algorithm", "gzip"),
    )
    assert parsed.batching_parameters_file == Path("/b")
    assert parsed.load_retry_interval_micros == -1
    assert parsed.limits.batch_size == 7


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--no_such_flag=1"], "unknown argument: --no_such_flag=1"),
        (["--enable_serialization_as_tensor_content=false"], "unknown argument: --enable_serialization_as_tensor_content=false"),  # from 2.19
        (["--por=1"], "unknown argument: --por=1"),
        (["--port", "8500"], "unknown argument: 8500; flags are given as --flag=value"),
        (["--port=65536"], "argument --port: '65536' is not legal; legal is a whole number, 0 to 65535"),
        (["--grpc_max_threads=0"], "argument --grpc_max_threads: '0' is not legal; legal is a whole number, 1 or more"),
        (["--enable_batching=True"], "argument --enable_batching: 'True' is no boolean; legal is true or false"),
        (["--flush_filesystem_caches=yes"], "argument --flush_filesystem_caches: 'yes' is no boolean; legal is true or false"),
        (["--per_process_gpu_memory_fraction=2"], "argument --per_process_gpu_memory_fraction: '2' is no fraction; legal is 0.0 to 1.0"),
        (["--grpc_channel_arguments=a"], "argument --grpc_channel_arguments: 'a' is no list of gRPC arguments; legal is key=value,key=value"),
        (["--prefer_tflite_model"], "--prefer_tflite_model=true is not supported by this server: TensorFlow Lite models are not served"),
        (["--mixed_precision=bfloat16"], "--mixed_precision=bfloat16 is not supported by this server: it would change the answers"),
        (["--platform_config_file=/p"], "--platform_config_file=/p is not supported by this server: only TensorFlow models are served, each with the same options"),
        (["--batching_parameters_file=/b"], "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."),
        (["--stemline_page"], "--stemline_page is a page of the REST port, which --rest_api_port opens"),
        (["--rest_api_port=8500"], "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API."),
        (["--model_name="], "--model_name is empty: no request could name the model"),
        (["--model_base_path="], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_sentence(capsys, argv, words):
    assert refusal(capsys, BASE, *argv) == words


@pytest.mark.parametrize("name", sorted(flags.WITHOUT_EFFECT))
def test_flags_without_effect_are_announced_with_the_reason(capsys, name):
    _, reason = flags.WITHOUT_EFFECT[name]
    value = "4" if name.startswith("num_") else "true"
    assert flags.parse([BASE, f"--{name}={value}"]) == flags.parse([BASE])
    assert capsys.readouterr().err == f"--{name} has no effect here: {reason}\n"


def test_only_the_flags_that_are_given_are_announced(capsys):
    flags.parse([BASE, "--num_load_threads=4", "--port=1", "--enable_profiler"])
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == [
        "--num_load_threads",
        "--enable_profiler",
    ]


@pytest.mark.parametrize("name", sorted(flags.REFUSED))
def test_refused_flags_may_ask_for_nothing(name):
    nothing, _ = flags.REFUSED[name]
    assert flags.parse([BASE, f"--{name}={nothing}"]) == flags.parse([BASE])


def test_all_threads_at_once_cannot_be_configured(capsys):
    argv = [f"--tensorflow_{what}_parallelism=2" for what in ("session", "intra_op", "inter_op")]
    assert refusal(capsys, BASE, *argv).endswith("You cannot configure all.")


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("TensorFlow ModelServer: 2.16.1")
