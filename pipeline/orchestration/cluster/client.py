"""Kubeflow Pipelines over its API, through the kfp client: runs, recurring runs, and errors as sentences."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import urllib3

from pipeline.config.config import Config
from pipeline.config.login import LEGAL, Login
from pipeline.orchestration.cluster import package

_SECONDS = 10  # for the first answer
_RETRIES = 3  # where nothing answers a later one
_PAGE = 100
_NOT_LET_IN = (401, 403, 302, 303, 307)  # the last three lead to a page for the login
_PERMISSION_DENIED = 7  # of gRPC: with it Kubeflow's API refuses what a user whom it knows has no right to
_AWAY = (502, 503, 504)  # a gateway, with nothing behind it
# Of kfp_server_api, whose properties have no types: V2beta1RecurringRun and V2beta1Run.
RecurringRun = Any
ClusterRun = Any


@dataclass(frozen=True)
class Submission:
    """A compiled pipeline file together with the configuration to run it with."""

    file: Path
    config: Config

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """What the file holds. Raises as `package.read`."""
        return package.read(self.file)

    @property
    def name(self) -> str:
        """Of the run: the pipeline, and the fingerprint of image, graph and configuration."""
        return f"{self.documents[0]['pipelineInfo']['name']} {package.fingerprint(self.documents, self.config)}"

    @property
    def parameters(self) -> dict[str, str]:
        return package.parameters(self.config)

    @property
    def common(self) -> dict[str, Any]:
        """What runs and recurring runs are created with. The kfp client, which reads pipeline files by the schema of its own
        version, would refuse those of a newer server."""
        cluster = self.config.cluster
        keys = ("pipeline_spec", "platform_spec")
        return {
            "display_name": self.name,
            "pipeline_spec": dict(zip(keys, self.documents, strict=True))
            if len(self.documents) == 2
            else self.documents[0],
            "runtime_config": kfp_server_api.V2beta1RuntimeConfig(
                pipeline_root=cluster.pipeline_root or None, parameters=self.parameters
            ),
            "service_account": cluster.service_account or None,
        }


class _Client(kfp.Client):
    """The client with settings of ours: its own take a login page for an empty answer, and a token once and for all."""

    def __init__(self, settings: kfp_server_api.Configuration, cookie: str | None):
        self._settings = settings
        super().__init__(host=settings.host, cookies=cookie)

    def _load_config(self, *_: Any) -> kfp_server_api.Configuration:
        return self._settings


class Cluster:
    """The Kubeflow Pipelines that answer at `host` (http://...).

    Every method raises ConnectionError when nothing answers and ValueError when the answer is a refusal, naming the host;
    and what `Login` raises.
    """

    def __init__(self, host: str, namespace: str, login: Login | None = None):
        """namespace: of the user, where Kubeflow has several; where it has one, none is sent. login: None shows nothing."""
        self.host = host
        self._login = login or Login()
        if self._login.ca_file and not host.startswith("https://"):
            raise ValueError(
                f"cluster.ca_file is {self._login.ca_file}, but the host is {host}: legal only with https://"
            )
        self._namespace: str | None = None
        with self._in_words():
            self._namespace = namespace if self._has_users() else None
            self._client: Any = _Client(self._settings(_RETRIES), self._login.cookie())

    def submit(self, submission: Submission) -> str:
        """Starts a run; returns its id."""
        with self._in_words():
            experiment = self._experiment(submission.config.cluster.experiment)
            run = kfp_server_api.V2beta1Run(experiment_id=experiment, **submission.common)
            return self._client.runs.run_service_create_run(body=run).run_id

    def terminate(self, run_id: str) -> None:
        """Stops a run."""
        with self._in_words():
            self._client.terminate_run(run_id)

    def create_recurring(self, submission: Submission) -> RecurringRun:
        """A recurring run that does not run yet: one at a time, and missed ones are not made up for."""
        with self._in_words():
            schedule = kfp_server_api.V2beta1CronSchedule(cron=submission.config.cluster.cron)
            recurring = kfp_server_api.V2beta1RecurringRun(
                experiment_id=self._experiment(submission.config.cluster.experiment),
                description=f"stemline, recipe {submission.config.name}",
                trigger=kfp_server_api.V2beta1Trigger(cron_schedule=schedule),
                max_concurrency="1",
                no_catchup=True,
                mode=kfp_server_api.RecurringRunMode.DISABLE,
                **submission.common,
            )
            return self._client.recurring_runs.recurring_run_service_create_recurring_run(body=recurring)

    def recurring(self, experiment: str | None = None) -> list[RecurringRun]:
        """All recurring runs of an experiment, or of the namespace, oldest first."""
        found, token = [], ""
        with self._in_words():
            place = {"experiment_id": self._experiment(experiment)} if experiment else {"namespace": self._namespace}
            while True:
                page = self._client.list_recurring_runs(page_token=token, page_size=_PAGE, **place)
                found += page.recurring_runs or []
                token = page.next_page_token
                if not token:
                    return sorted(found, key=age)

    def enable(self, run: RecurringRun) -> None:
        with self._in_words():
            self._client.enable_recurring_run(run.recurring_run_id)

    def disable(self, run: RecurringRun) -> None:
        with self._in_words():
            self._client.disable_recurring_run(run.recurring_run_id)

    def delete(self, run: RecurringRun) -> None:
        with self._in_words():
            self._client.delete_recurring_run(run.recurring_run_id)

    def run(self, run_id: str) -> ClusterRun:
        """A run with its tasks."""
        with self._in_words():
            return self._client.get_run(run_id)

    def runs(self, experiment: str, number: int) -> list[ClusterRun]:
        """The newest runs of an experiment."""
        with self._in_words():
            place = self._experiment(experiment)
            page = self._client.list_runs(page_size=number, sort_by="created_at desc", experiment_id=place)
        return page.runs or []

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is made where there is none of this name."""
        return self._client.create_experiment(name, namespace=self._namespace).experiment_id

    def _has_users(self) -> bool:
        """Asked without the client, which would try five times and say so."""
        with kfp_server_api.ApiClient(self._settings(retries=0), cookie=self._login.cookie()) as api:
            service = kfp_server_api.HealthzServiceApi(api)
            answer: Any = service.healthz_service_get_healthz_with_http_info(_request_timeout=_SECONDS)
            health, _, headers = answer
        kind = headers.get("Content-Type", "")
        if "json" not in kind:
            raise ValueError(
                f"what answers at {self.host} is not Kubeflow Pipelines' API but a page ({kind or 'of no type'}): a whole "
                f"Kubeflow has the API below /pipeline, and a page for the login is passed by {LEGAL}"
            )
        return bool(health.multi_user)

    def _settings(self, retries: int) -> kfp_server_api.Configuration:
        """How calls are made. No redirect is followed: it leads to a page for the login, never to an answer."""
        settings = kfp_server_api.Configuration(host=self.host.rstrip("/"))
        settings.ssl_ca_cert = self._login.authority()
        settings.retries = urllib3.Retry(retries, redirect=False)
        if token := self._login.token():
            settings.api_key["authorization"] = token
            settings.api_key_prefix["authorization"] = "Bearer"
            settings.refresh_api_key_hook = lambda own: own.api_key.update(authorization=self._login.token())
        return settings

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """Errors as sentences, and no links on standard output."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            kind = ConnectionError if error.status in _AWAY else ValueError
            raise kind(self._login.hidden(self._refusal(error))) from error
        except (urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise ConnectionError(f"no Kubeflow Pipelines can be reached at {self.host}: {_cause(error)}") from error

    def _refusal(self, error: kfp_server_api.ApiException) -> str:
        told = _message(error.body)
        if location := (error.headers or {}).get("Location"):
            place = urllib.parse.urlsplit(location)._replace(query="", fragment="")  # without what it says of this call
            told = f"it sends the call to {place.geturl()}"
        answer = f"{error.status} {error.reason}: {told}".removesuffix(": ")
        code = _grpc_code(error.body)
        if code == _PERMISSION_DENIED and error.status == 403:
            place = f"in the namespace {self._namespace!r} of cluster.namespace" if self._namespace else "there"
            return f"Kubeflow Pipelines at {self.host} knows who calls, who has no right to this {place}: {answer}"
        if error.status == 404 and code is None:
            return (
                f"nothing at {self.host} answers as Kubeflow Pipelines ({answer}): a whole Kubeflow has its API below "
                "/pipeline, so that cluster.host ends in it"
            )
        if error.status not in _NOT_LET_IN:
            return f"Kubeflow Pipelines at {self.host} refused with {answer}"
        if shown := self._login.words:
            doubt = "may it come in here?" if error.status == 403 else "has it expired?"
            return f"Kubeflow Pipelines at {self.host} does not let {shown} in: {answer}; {doubt}"
        return f"Kubeflow Pipelines at {self.host} wants a login ({answer}): set {LEGAL}"


def age(run: RecurringRun) -> tuple[str, str]:
    """Sorts recurring runs by their creation, all callers alike."""
    return str(run.created_at), run.recurring_run_id


def _grpc_code(body: Any) -> int | None:
    """Of an error of Kubeflow's API, which is JSON; None for one of whatever else answers there."""
    try:
        code = json.loads(body).get("code")
    except (TypeError, ValueError, AttributeError):
        return None
    return code if code in range(17) else None  # Kubernetes' own API has the HTTP status there


def _message(body: Any) -> str:
    """What the server said, as a line; nothing for a page."""
    try:
        told = json.loads(body)
        return " ".join(str(told.get("message") or told.get("error") or told).split())
    except (TypeError, ValueError, AttributeError):
        line = " ".join(str(body or "").split())
        return "" if line.startswith("<") else line[:200]


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    words = " ".join(str(reason).split())
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return f"{words}; cluster.ca_file names the certificates of a private authority"
    return words.split(": ", 1)[-1]
