"""Every overlay builds, every object is one that Kubernetes takes, and what refers to something finds it."""

from __future__ import annotations

import copy
import re
import shutil
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
        mounts = [mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]]
        assert sorted(mounts) == sorted(volume["name"] for volume in spec["volumes"])
        assert spec["serviceAccountName"] in of_kind(objects, "ServiceAccount")
    assert config_maps == used | {"stemline-dashboard"}  # Grafana finds that one by its label
    assert all(re.fullmatch(r"stemline-(model|batching|monitoring|envoy)-[a-z0-9]{10}", name) for name in used)
    assert len(used) == 4


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


def test_pipelines_publish_where_the_servers_look(build):
    """On one node: two namespaces, two claims, one directory."""
    serving, pipelines = (build(ROOT / "kubeflow/overlays/local-gpu" / name) for name in (".", "pipelines"))
    for item in pipelines:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    places = set()
    for objects, namespace in ((serving, "stemline"), (pipelines, "kubeflow")):
        (volume,) = of_kind(objects, "PersistentVolume").values()
        claim = of_kind(objects, "PersistentVolumeClaim")["stemline-models"]
        assert claim["metadata"]["namespace"] == namespace
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"]
        assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
        assert volume["spec"]["claimRef"] == {"namespace": namespace, "name": "stemline-models"}
        places.add(volume["spec"]["hostPath"]["path"])
    assert len(places) == 1


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


def test_the_readme_names_what_is_there():
    text = (ROOT / "kubeflow/README.md").read_text()
    applied = re.findall(r"kubectl apply -k (\S+?)`?[,\s]", text)
    assert {"kubeflow/overlays/local-gpu", "kubeflow/overlays/local-gpu/pipelines", "kubeflow/training"} <= set(applied)
    assert all((ROOT / path / "kustomization.yaml").is_file() for path in applied)
    assert all((ROOT / path).is_file() for path in re.findall(r"(?:--values|build -f) (\S+)", text))


def test_the_readme_explains_every_alert(build):
    (rules,) = of_kind(build(ROOT / "kubeflow/base"), "PrometheusRule").values()
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    text = (ROOT / "kubeflow/README.md").read_text()
    assert set(re.findall(r"^\| `(Stemline\w+)`", text, re.MULTILINE)) == alerts
