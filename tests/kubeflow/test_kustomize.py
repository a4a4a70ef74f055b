"""Every overlay builds, every object is one that Kubernetes takes, and what refers to something finds it."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml

from pipeline.config.config import load
from pipeline.orchestration.cluster.workers import jobset, jobsets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = kubernetes_validate.latest_version()
OLDEST = "1.27"  # gRPC probes without a feature gate; named in kubeflow/README.md
CUSTOM = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "InferenceService": "serving.kserve.io/v1beta1",
}
POD = ("spec", "template", "spec")
# Secrets that the README's walk makes.
MADE_BY_HAND = re.findall(r"create secret tls (\S+)", (ROOT / "kubeflow/README.md").read_text())
WORKLOADS = {"local-gpu": "stemline-serving", "gke": "stemline-serving", "kserve": "stemline-predictor"}


def of_kind(objects, kind):
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def server(objects, pods, overlay):
    return {name: (labels, spec) for name, labels, spec in pods(objects)}[WORKLOADS[overlay]]


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


# ---- schemas


def test_every_built_in_object_is_one_of_kubernetes(objects):
    built_in = [item for item in objects if item["kind"] not in CUSTOM]
    assert len(built_in) > 10
    for item in built_in:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def test_the_oldest_kubernetes_takes_them_too(build):
    for item in build(ROOT / "kubeflow/overlays/gke"):
        if item["kind"] not in CUSTOM:
            kubernetes_validate.validate(item, OLDEST, strict=True)
    assert f"Kubernetes {OLDEST} or newer" in (ROOT / "kubeflow/README.md").read_text()


def test_the_pod_of_kserve_is_one_of_kubernetes_too(build, pods):
    """A predictor is a pod with some fields more; test_custom.py holds those to KServe's models."""
    objects = build(ROOT / "kubeflow/overlays/kserve")
    (service,) = of_kind(objects, "InferenceService").values()
    own = {"minReplicas", "maxReplicas", "labels", "deploymentStrategy"}
    spec = {key: value for key, value in service["spec"]["predictor"].items() if key not in own}
    deployment = copy.deepcopy(of_kind(build(ROOT / "kubeflow/base"), "Deployment")["stemline-serving"])
    deployment["spec"]["template"]["spec"] = spec
    deployment["spec"]["strategy"] = service["spec"]["predictor"]["deploymentStrategy"]
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("kind", "path", "value", "words"),
    [
        ("Deployment", ("spec", "template", "spec", "nodeselector"), {}, "nodeselector"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinessProbe", "periodSeconds"), "5s", "5s"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "rest", "rest"),
        ("Deployment", ("spec", "selector"), None, "selector"),
        ("PodDisruptionBudget", ("spec", "minimumAvailable"), 1, "minimumAvailable"),
        ("NetworkPolicy", ("spec", "ingres"), [], "ingres"),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), "8", "8"),
        ("Service", ("spec", "ports", 0, "port"), "443", "443"),
    ],
)
def test_a_planted_mistake_is_caught(build, planted, kind, path, value, words):
    right = next(iter(of_kind(build(ROOT / "kubeflow/overlays/gke"), kind).values()))
    with pytest.raises(kubernetes_validate.ValidationError, match=words):
        kubernetes_validate.validate(planted(right, path, value), KUBERNETES, strict=True)


def test_custom_objects_have_the_versions_of_their_controllers_and_alerts_say_what_they_are(objects):
    custom = [item for item in objects if item["kind"] in CUSTOM]
    assert {item["kind"]: item["apiVersion"] for item in custom}.items() <= CUSTOM.items()
    for rules in of_kind(objects, "PrometheusRule").values():
        for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule):
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert set(rule["annotations"]) == {"summary", "description"}


def test_kserve_runs_the_same_container_and_scales_by_ours_alone(build):
    base = of_kind(build(ROOT / "kubeflow/base"), "Deployment")["stemline-serving"]["spec"]["template"]["spec"]
    (service,) = of_kind(build(ROOT / "kubeflow/overlays/kserve"), "InferenceService").values()
    predictor = service["spec"]["predictor"]
    assert predictor["containers"][0] == {**base["containers"][0], "name": "kserve-container"}
    assert {key: predictor[key] for key in base if key != "containers"} == {
        key: base[key] for key in base if key != "containers"
    }
    assert service["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",  # pkg/constants/constants.go from v0.16.0 on
        "serving.kserve.io/autoscalerClass": "external",
    }


# ---- references


def unmatched(objects, pods):
    """Selectors that select no pod: ["Service/stemline", ...]."""
    labels = [labels for _, labels, _ in pods(objects)]
    found = []
    for item in objects:
        spec = item.get("spec", {})
        selectors = {
            "Service": lambda spec=spec: [spec["selector"]],
            "PodDisruptionBudget": lambda spec=spec: [spec["selector"]["matchLabels"]],
            "Deployment": lambda spec=spec: [spec["selector"]["matchLabels"]],
            "NetworkPolicy": lambda spec=spec: list(_pod_selectors(spec)),
        }.get(item["kind"], lambda: [])()
        if not all(any(selects(selector, one) for one in labels) for selector in selectors):
            found.append(f"{item['kind']}/{item['metadata']['name']}")
    return found


def _pod_selectors(policy):
    """Those for pods of this namespace."""
    if policy["podSelector"]:
        yield policy["podSelector"]["matchLabels"]
    rules = [
        rule.get(side, []) for key, side in (("ingress", "from"), ("egress", "to")) for rule in policy.get(key, [])
    ]
    for peer in (peer for peers in rules for peer in peers):
        if "podSelector" in peer and "namespaceSelector" not in peer:
            yield peer["podSelector"]["matchLabels"]


def test_every_selector_selects_pods(objects, pods):
    assert unmatched(objects, pods) == []


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_a_selector_without_pods_is_seen(build, pods, kind):
    objects = copy.deepcopy(build(ROOT / "kubeflow/overlays/gke"))
    item = of_kind(objects, kind)["stemline-serving"]
    selector = item["spec"].get("selector") or item["spec"]["podSelector"]
    selector.get("matchLabels", selector)["app.kubernetes.io/component"] = "server"
    assert unmatched(objects, pods) == [f"{kind}/stemline-serving"]


def test_named_ports_are_ports_of_the_selected_pods(objects, pods):
    for service in of_kind(objects, "Service").values():
        (pod,) = [spec for _, labels, spec in pods(objects) if selects(service["spec"]["selector"], labels)]
        ports = {port["name"] for port in pod["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    policies = of_kind(objects, "NetworkPolicy")
    assert {rule["ports"][0]["port"] for rule in policies["stemline-serving"]["spec"]["ingress"]} == {"grpc", "rest"}
    assert {rule["ports"][0]["port"] for rule in policies["stemline-edge"]["spec"]["ingress"]} == {"grpc-tls", "stats"}


def test_monitors_select_services_with_the_port(objects):
    services = of_kind(objects, "Service")
    for monitor in of_kind(objects, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [one for one in services.values() if selects(wanted, one["metadata"]["labels"])]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_pods_mount_what_is_there(objects, pods):
    """ConfigMaps by their hashed names, claims, service accounts."""
    config_maps, used = set(of_kind(objects, "ConfigMap")), set()
    for _, _, spec in pods(objects):
        for volume in spec["volumes"]:
            sources = volume.get("projected", {}).get("sources", [volume])
            used |= {source["configMap"]["name"] for source in sources if "configMap" in source}
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in of_kind(objects, "PersistentVolumeClaim")
            if secret := volume.get("secret"):
                assert secret["secretName"] in MADE_BY_HAND
        mounts = [mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]]
        assert sorted(mounts) == sorted(volume["name"] for volume in spec["volumes"])
        assert spec["serviceAccountName"] in of_kind(objects, "ServiceAccount")
    assert config_maps == used | {"stemline-dashboard"}  # Grafana finds that one by its label
    assert all(re.fullmatch(r"stemline-(model|batching|monitoring|envoy)-[a-z0-9]{10}", name) for name in used)
    assert len(used) == 4


def unmonitored(objects):
    """Jobs that alerts look for and that no monitor makes: a target's job is the name of its Service."""
    monitors = [one["spec"]["selector"]["matchLabels"] for one in of_kind(objects, "ServiceMonitor").values()]
    services = of_kind(objects, "Service")
    jobs = {
        name for name, one in services.items() if any(selects(wanted, one["metadata"]["labels"]) for wanted in monitors)
    }
    return sorted(set(re.findall(r'job="([^"]*)"', str(of_kind(objects, "PrometheusRule")))) - jobs)


def test_alerts_look_for_jobs_that_are_monitored(objects):
    assert unmonitored(objects) == []


def test_a_wrong_job_is_seen(build):
    objects = copy.deepcopy(build(ROOT / "kubeflow/overlays/gke"))
    for group in of_kind(objects, "PrometheusRule")["stemline"]["spec"]["groups"]:
        for rule in group["rules"]:
            rule["expr"] = rule["expr"].replace("stemline-edge-stats", "stemline-edge")
    assert unmonitored(objects) == ["stemline-edge"]


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "check"),
    [
        ("Service", "stemline", ("spec", "ports", 0, "targetPort"), "https", "ports"),
        ("ServiceMonitor", "stemline-edge", ("spec", "endpoints", 0, "port"), "metrics", "monitors"),
        ("Deployment", "stemline-edge", (*POD, "volumes", 1, "secret", "secretName"), "stemline-tls", "mounts"),
        (
            "Deployment",
            "stemline-serving",
            (*POD, "volumes", 1, "persistentVolumeClaim", "claimName"),
            "models",
            "mounts",
        ),
        ("Deployment", "stemline-serving", (*POD, "serviceAccountName"), "stemline", "mounts"),
    ],
)
def test_a_wrong_reference_is_named(build, planted, pods, kind, name, path, value, check):
    checks = {
        "ports": lambda objects: test_named_ports_are_ports_of_the_selected_pods(objects, pods),
        "monitors": test_monitors_select_services_with_the_port,
        "mounts": lambda objects: test_pods_mount_what_is_there(objects, pods),
    }
    objects = list(build(ROOT / "kubeflow/overlays/local-gpu"))
    (at,) = [number for number, item in enumerate(objects) if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    checks[check](objects)
    objects[at] = planted(objects[at], path, value)
    with pytest.raises(AssertionError, match=f"'{value}'"):
        checks[check](objects)


def test_another_config_is_another_name(build, tmp_path):
    """So that a change rolls the servers out."""
    copied = tmp_path / "config"
    shutil.copytree(ROOT / "serving/config", copied)
    before = {item["metadata"]["name"] for item in build(ROOT / "serving/config")}
    (copied / "batching.config").write_text("max_batch_size { value: 1 }")
    after = {item["metadata"]["name"] for item in build(copied)}
    assert {name.rpartition("-")[0] for name in before ^ after} == {"stemline-batching"}


def test_everything_is_in_the_namespace(objects):
    inside = [item for item in objects if item["kind"] not in ("Namespace", "PersistentVolume")]
    assert {item["metadata"].get("namespace") for item in inside} == {"stemline"}


def mispublished(serving, pipelines):
    """What keeps pipelines of one node from publishing where its servers look: two namespaces, two claims, one directory."""
    found, places = [], {}
    for objects, namespace in ((serving, "stemline"), (pipelines, "kubeflow")):
        volumes = of_kind(objects, "PersistentVolume")
        for name, claim in of_kind(objects, "PersistentVolumeClaim").items():
            volume = volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                found.append(f"{namespace}/{name} names no volume")
                continue
            alike = all(claim["spec"][key] == volume["spec"][key] for key in ("storageClassName", "accessModes"))
            if not alike or volume["spec"]["claimRef"] != {"namespace": namespace, "name": name}:
                found.append(f"{namespace}/{name} does not get {volume['metadata']['name']}")
            places.setdefault(name, set()).add(volume["spec"]["hostPath"]["path"])
    if len(places["stemline-models"]) != 1:
        found.append(f"models lie in {sorted(places['stemline-models'])}")
    cluster, served = load("demo").cluster, base_path(serving)
    (mounted,) = [one.mount_path for one in cluster.every.volumes if one.claim == "stemline-models"]
    (mount,) = [
        one["mountPath"]
        for one in of_kind(serving, "Deployment")["stemline-serving"]["spec"]["template"]["spec"]["containers"][0][
            "volumeMounts"
        ]
        if one["name"] == "models"
    ]
    if cluster.serving.removeprefix(mounted) != served.removeprefix(mount):
        found.append(f"cluster.serving is {cluster.serving}, but {served} is served")
    return found


def base_path(objects):
    """Where the servers of an overlay look for versions."""
    (config,) = [
        item["data"]["model.config"]
        for item in objects
        if item["kind"] == "ConfigMap" and "model.config" in item["data"]
    ]
    (path,) = re.findall(r'base_path: "(.*)"', config)
    return path


@pytest.fixture
def one_node(build):
    return [build(ROOT / "kubeflow/overlays/local-gpu" / name) for name in (".", "pipelines")]


def test_pipelines_publish_where_the_servers_look(one_node):
    for item in one_node[1]:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    assert mispublished(*one_node) == []


@pytest.mark.parametrize(
    ("side", "kind", "path", "value", "words"),
    [
        (
            0,
            "PersistentVolumeClaim",
            ("spec", "volumeName"),
            "stemline-model",
            "stemline/stemline-models names no volume",
        ),
        (1, "PersistentVolume", ("spec", "claimRef", "namespace"), "music", "kubeflow/stemline-models does not get"),
        (1, "PersistentVolume", ("spec", "hostPath", "path"), "/srv/models", "models lie in"),
        (0, "ConfigMap", ("data", "model.config"), 'base_path: "/models/demo"', "but /models/demo is served"),
    ],
)
def test_a_wrong_place_of_the_models_is_seen(one_node, planted, side, kind, path, value, words):
    names = ("stemline-models", "stemline-models-pipelines")
    (at,) = [
        number
        for number, item in enumerate(one_node[side])
        if item["kind"] == kind and (item["metadata"]["name"] in names or "model.config" in item.get("data", {}))
    ]
    one_node[side] = list(one_node[side])
    one_node[side][at] = planted(one_node[side][at], path, value)
    (found,) = mispublished(*one_node)
    assert words in found


def test_what_a_profile_gets_is_what_kubeflow_gets(build):
    """README's own lines, up to `kubectl apply`: of several users, each runs pipelines in a namespace of their own."""
    lines = re.findall(
        r"(kubectl kustomize (\S+) \| (sed '.*?')) \| kubectl apply -f -", (ROOT / "kubeflow/README.md").read_text()
    )
    assert {path for _, path, _ in lines} == {"kubeflow/overlays/local-gpu/pipelines", "kubeflow/training"}
    for _, path, sed in lines:
        objects = build(ROOT / path)
        ended = subprocess.run(
            shlex.split(sed), input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=True
        )
        assert "kubeflow" not in ended.stdout
        assert ended.stdout.count(": music\n") == yaml.safe_dump_all(objects).count(": kubeflow\n") >= len(objects)


def test_one_gpu_is_shared_by_a_server_and_a_trainer(build):
    """Keys as NVIDIA's device plugin 0.20.0 has them (its README, "With CUDA Time-Slicing")."""
    (config,) = yaml.safe_load_all((ROOT / "kubeflow/overlays/local-gpu/time-slicing.yaml").read_text())
    kubernetes_validate.validate(config, KUBERNETES, strict=True)
    (profile,) = config["data"]
    sharing = yaml.safe_load(config["data"][profile])
    assert sharing == {
        "version": "v1",
        "sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": 2}]}},
    }
    text = (ROOT / "kubeflow/README.md").read_text()
    assert (
        f"--set devicePlugin.config.name={config['metadata']['name']} --set devicePlugin.config.default={profile}"
        in text
    )
    pod = of_kind(build(ROOT / "kubeflow/overlays/local-gpu"), "Deployment")["stemline-serving"]["spec"]["template"][
        "spec"
    ]
    assert {"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"} in pod["containers"][0]["env"]
    assert "TF_FORCE_GPU_ALLOW_GROWTH=true" in (ROOT / "kubeflow/Dockerfile").read_text()


def test_clients_come_in_by_the_edge_alone(objects, overlay):
    types = {name: one["spec"].get("type", "ClusterIP") for name, one in of_kind(objects, "Service").items()}
    outside = {"local-gpu": "NodePort", "gke": "LoadBalancer", "kserve": "ClusterIP"}
    assert types.pop("stemline") == outside[overlay]
    assert set(types.values()) == {"ClusterIP"}
    if overlay == "local-gpu":
        (port,) = of_kind(objects, "Service")["stemline"]["spec"]["ports"]
        assert (port["nodePort"], port["targetPort"]) == (30443, "grpc-tls")


def test_training_lets_the_pipelines_account_do_what_the_launcher_does_and_no_more(build):
    objects = build(ROOT / "kubeflow/training")
    for item in objects:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
        assert item["metadata"]["namespace"] == "kubeflow"
    (role,), (binding,) = of_kind(objects, "Role").values(), of_kind(objects, "RoleBinding").values()
    assert len(objects) == 2
    assert role["rules"] == [
        {"apiGroups": [jobset.GROUP], "resources": [jobset.PLURAL], "verbs": ["create", "get", "delete"]}
    ]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    account = load("demo").cluster
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": name, "namespace": account.namespace}
        for name in (account.service_account, "default-editor")
    ]
    text = (ROOT / "kubeflow/README.md").read_text()
    assert f"kubectl apply --server-side -f {jobsets.INSTALL}\n" in text
    [(old, new)] = re.findall(r"kubectl kustomize kubeflow/training \| sed 's/(.*)/(.*)/' \| kubectl apply -f -", text)
    moved = re.sub(old, new, yaml.safe_dump_all(objects), flags=re.MULTILINE)
    assert "kubeflow" not in moved
    assert moved.count(": music\n") == 4


# ---- how the servers are run


def test_the_server_has_a_gpu_on_a_node_that_has_one(objects, pods, overlay):
    _, spec = server(objects, pods, overlay)
    container = spec["containers"][0]
    assert container["image"] == "tensorflow/serving:2.16.1-gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert spec.get("runtimeClassName") == ("nvidia" if overlay == "local-gpu" else None)


def test_ready_is_who_has_a_version(objects, pods, overlay):
    container = server(objects, pods, overlay)[1]["containers"][0]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/stemline/metadata", "port": "rest"}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600
    assert container["livenessProbe"]["grpc"] == {"port": 8500}  # says nothing about models, and so kills no server


def test_pods_drain_for_the_longest_deadline(objects, pods, overlay):
    envoy = edge_config(objects)
    cap = int(route(envoy, "inference")["route"]["max_stream_duration"]["grpc_timeout_header_max"].rstrip("s"))
    for _, _, spec in pods(objects):
        command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        sleep = int(re.findall(r"\d+", command[-1])[-1])
        assert sleep >= cap + 10
        assert spec["terminationGracePeriodSeconds"] > sleep


def test_the_autoscaler_is_alone_and_aims_at_the_servers(objects, overlay):
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    if overlay == "local-gpu":
        assert scalers == {}  # one GPU
        return
    (scaler,) = scalers.values()
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": WORKLOADS[overlay],
    }
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "stemline_requests_under_way"
    for deployment in of_kind(objects, "Deployment").values():
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] == "stemline-edge")


def test_the_adapter_makes_the_autoscalers_metric():
    values = yaml.safe_load((ROOT / "kubeflow/prometheus-adapter.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    assert rule["name"] == {"as": "stemline_requests_under_way"}
    assert "<<.LabelMatchers>>" in rule["metricsQuery"]
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_nothing_but_the_edge_and_prometheus_reaches_a_server(objects):
    policies = of_kind(objects, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    rules = policies["stemline-serving"]["spec"]["ingress"]
    (edge,), (prometheus,) = (rule["from"] for rule in rules)
    assert edge["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "edge"
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    others = [name for name, policy in policies.items() if "Ingress" in policy["spec"]["policyTypes"]]
    assert sorted(others) == ["default-deny", "stemline-edge", "stemline-serving"]


def test_the_edge_finds_the_servers_one_by_one(objects):
    service = of_kind(objects, "Service")["stemline-serving"]
    assert service["spec"]["clusterIP"] == "None"
    cluster = next(one for one in edge_config(objects)["static_resources"]["clusters"] if one["name"] == "serving")
    assert cluster["type"] == "STRICT_DNS"
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "stemline-serving", "port_value": 8500}


# ---- the edge


def edge_config(objects):
    (data,) = [item["data"] for item in objects if "envoy.yaml" in item.get("data", {})]
    return yaml.safe_load(data["envoy.yaml"])


def manager(envoy, listener="edge"):
    (found,) = [one for one in envoy["static_resources"]["listeners"] if one["name"] == listener]
    return found["filter_chains"][0]["filters"][0]["typed_config"]


def route(envoy, name):
    (host,) = manager(envoy)["route_config"]["virtual_hosts"]
    return next(one for one in host["routes"] if one["name"] == name)


def test_the_edge_lets_three_methods_through_and_denies_the_rest(objects):
    envoy = edge_config(objects)
    (host,) = manager(envoy)["route_config"]["virtual_hosts"]
    assert [one["name"] for one in host["routes"] if "route" in one] == ["inference"]
    assert host["routes"][-1]["match"] == {"prefix": "/"}
    assert host["routes"][-1]["direct_response"]["status"] == 404
    allowed = re.compile(route(envoy, "inference")["match"]["safe_regex"]["regex"])
    prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
    for path in (f"{prediction}Predict", f"{prediction}GetModelMetadata", f"{model}GetModelStatus"):
        assert allowed.fullmatch(path)
    for path in (f"{prediction}Classify", f"{model}HandleReloadConfigRequest", f"{prediction}Predict/", "/v1/models/m"):
        assert not allowed.fullmatch(path)


def test_the_edge_wants_tls_a_deadline_and_requests_of_a_size(objects):
    envoy = edge_config(objects)
    listener = next(one for one in envoy["static_resources"]["listeners"] if one["name"] == "edge")
    tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    assert tls["@type"].endswith("tls.v3.DownstreamTlsContext")
    assert tls["common_tls_context"]["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    filters = {one["name"]: one["typed_config"] for one in manager(envoy)["http_filters"]}
    assert list(filters) == ["envoy.filters.http.buffer", "envoy.filters.http.router"]
    assert filters["envoy.filters.http.buffer"]["max_request_bytes"] == 16 * 2**20
    legal, zero = (one["string_match"]["safe_regex"]["regex"] for one in route(envoy, "inference")["match"]["headers"])
    assert all(re.fullmatch(legal, text) for text in ("1S", "30000m", "99999999u"))
    assert not any(re.fullmatch(legal, text) for text in ("", "1", "1s", "-1S", "123456789m"))
    assert re.fullmatch(zero, "000m")
    assert not re.fullmatch(zero, "100m")
    assert route(envoy, "no-deadline")["direct_response"]["status"] == 403


# ---- the documentation


# What `env/platform-agnostic` of Kubeflow Pipelines 2.17.0 has, as kustomize builds it.
KUBEFLOW = {"deployment/ml-pipeline", "deployment/ml-pipeline-ui", "svc/ml-pipeline-ui:80"}


def misnamed(text, build):
    """Files, objects, ports, accounts and places that the README names and that are not there, in its order."""
    overlays = {name: build(ROOT / "kubeflow/overlays" / name) for name in WORKLOADS}
    walk = overlays["local-gpu"]
    there = KUBEFLOW | {f"deployment/{name}" for name in of_kind(walk, "Deployment")}
    for name, service in of_kind(walk, "Service").items():
        there |= {f"svc/{name}:{port['port']}" for port in service["spec"]["ports"]}
    edge = of_kind(walk, "Deployment")["stemline-edge"]["spec"]["template"]["spec"]
    there |= {f"secret tls {one['secret']['secretName']}" for one in edge["volumes"] if "secret" in one}
    there |= {f"ns/stemline/sa/{name}" for name in of_kind(walk, "ServiceAccount")}
    account = load("demo").cluster
    there |= {f"ns/{account.namespace}/sa/{account.service_account}"}
    there |= {f"`{name}` | `{base_path(objects)}` | `{base_path(objects)}`" for name, objects in overlays.items()}
    named = [found.replace(" ", ":") for found in re.findall(r"svc/\S+ \d+:\d+", text)]
    named = [re.sub(r":\d+:", ":", found) for found in named]
    named += re.findall(r"deployment/[a-z-]+", text)
    named += re.findall(r"secret tls [a-z-]+", text)
    named += re.findall(r"ns/[a-z]+/sa/[a-z-]+", text)
    named += re.findall(r"^\| (`(?:local-gpu|gke|kserve)` \| `\S+` \| `\S+`)", text, re.MULTILINE)
    files = re.findall(r"(?:--values|build -f|apply -f) (kubeflow/\S+?)`?[,\s]", text)
    files += [f"{path}/kustomization.yaml" for path in re.findall(r"apply -k (kubeflow/\S+?)`?[,\s]", text)]
    return [file for file in files if not (ROOT / file).is_file()] + [name for name in named if name not in there]


def test_the_readme_names_what_is_there(build):
    text = (ROOT / "kubeflow/README.md").read_text()
    assert misnamed(text, build) == []
    for path in re.findall(r"kubectl apply -k (kubeflow/\S+?)`?[,\s]", text):
        assert build(ROOT / path)


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("secret tls stemline-edge-tls", "secret tls stemline-tls", "secret tls stemline-tls"),
        ("svc/stemline 8443:443", "svc/stemline 8443:8443", "svc/stemline:8443"),
        ("deployment/stemline-edge", "deployment/edge", "deployment/edge"),
        ("sa/stemline-serving", "sa/stemline-server", "ns/stemline/sa/stemline-server"),
        ("ns/kubeflow/sa/pipeline-runner", "ns/kubeflow/sa/runner", "ns/kubeflow/sa/runner"),
        (
            "| `/models/stemline` | `/models/stemline` |",
            "| `/models/stemline` | `/models` |",
            "`local-gpu` | `/models/stemline` | `/models`",
        ),
        (
            "-k kubeflow/overlays/local-gpu/pipelines",
            "-k kubeflow/overlays/pipelines",
            "kubeflow/overlays/pipelines/kustomization.yaml",
        ),
        ("--values kubeflow/prometheus-adapter.yaml", "--values kubeflow/adapter.yaml", "kubeflow/adapter.yaml"),
    ],
)
def test_a_wrong_name_in_the_readme_is_seen(build, right, wrong, found):
    text = (ROOT / "kubeflow/README.md").read_text()
    assert right in text
    assert found in misnamed(text.replace(right, wrong), build)


@pytest.mark.parametrize("overlay", WORKLOADS)
def test_images_are_pinned_as_the_readme_says(build, overlay, tmp_path):
    (images,) = re.findall(r'```yaml title="images"\n(.*?)```', (ROOT / "kubeflow/README.md").read_text(), re.DOTALL)
    digest = f"sha256:{'0123456789abcdef' * 4}"
    shutil.copytree(ROOT / "kubeflow", tmp_path / "kubeflow")
    shutil.copytree(ROOT / "serving/config", tmp_path / "serving/config")
    file = tmp_path / "kubeflow/overlays" / overlay / "kustomization.yaml"
    file.write_text(file.read_text() + images.replace("sha256:...", digest))
    text = yaml.safe_dump_all(build(file.parent))
    assert set(re.findall(r"image: (\S+)", text)) == {
        f"{name}@{digest}" for name in ("tensorflow/serving", "envoyproxy/envoy")
    }


def test_the_readmes_recipe_of_a_bucket_fills_what_the_servers_read(build, tmp_path):
    text = (ROOT / "kubeflow/README.md").read_text()
    (recipe,) = re.findall(r'```yaml title="gke.yaml"\n(.*?)```', text, re.DOTALL)
    (tmp_path / "gke.yaml").write_text(recipe)
    cluster = load(str(tmp_path / "gke.yaml")).cluster
    assert cluster.serving == base_path(build(ROOT / "kubeflow/overlays/gke"))
    assert cluster.every.volumes == ()
    selector = of_kind(build(ROOT / "kubeflow/overlays/gke"), "Deployment")["stemline-serving"]["spec"]["template"][
        "spec"
    ]["nodeSelector"]
    assert cluster.task("Trainer").node_selector == selector


def test_objects_in_the_readme_are_ones_of_kubernetes():
    text = (ROOT / "kubeflow/README.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml[^\n]*\n(.*?)```", text, re.DOTALL)]
    built_in = [block for block in blocks if block.get("apiVersion") == "v1"]
    assert [item["metadata"]["name"] for item in built_in] == ["kfp-launcher"]
    for item in built_in:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def test_the_readme_explains_every_alert(build):
    (rules,) = of_kind(build(ROOT / "kubeflow/base"), "PrometheusRule").values()
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    text = (ROOT / "kubeflow/README.md").read_text()
    assert set(re.findall(r"^\| `(Stemline\w+)`", text, re.MULTILINE)) == alerts
