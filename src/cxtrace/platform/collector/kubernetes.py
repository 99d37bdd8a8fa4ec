"""The same Collectors for the OpenTelemetry Operator, and what it puts into Python services."""

from collections.abc import Mapping
from typing import Any, Final

from cxtrace.platform.collector.parts import variable
from cxtrace.platform.collector.redaction import Part

IMAGE: Final = "otel/opentelemetry-collector-contrib:0.159.0"
"""Has every component that the files name."""

_AGENT: Final = "cxtrace-agent"
_BALANCING: Final = "cxtrace-balancing"
_SAMPLING: Final = "cxtrace-sampling"
_FOLDER: Final = "/var/lib/otelcol"
_VOLUME: Final = "storage"

_FOR_SERVICES: Final = """\
For services whose pods have the annotation
instrumentation.opentelemetry.io/inject-python: "cxtrace".
Their image has cxtrace installed; the operator brings OpenTelemetry."""

RESOLVER: Final[Part] = {
    # Headless, so that the name stands for every gateway there is, and not for one address.
    "dns": {"hostname": f"{_SAMPLING}-collector-headless", "port": "4317"}
}
"""How the first tier finds the second."""


def manifests(agent: Part, balancing: Part, sampling: Part) -> Mapping[str, tuple[str, Part]]:
    """What each manifest is for, and the manifest, by name.

    Args:
        agent: Configuration of the Collector on each node.
        balancing: Of the first tier of gateways; it finds the second by ``RESOLVER``.
        sampling: Of the second tier.
    """
    return {
        "agent": ("On each node.", _daemon_set(agent)),
        "gateway-balancing": ("First tier of gateways.", _deployment(balancing)),
        "gateway-sampling": ("Second tier of gateways.", _stateful_set(sampling)),
        "instrumentation": (
            _FOR_SERVICES,
            _instrumentation(),
        ),
    }


_SETTLED: Final[Mapping[str, Any]] = {
    variable("CX_LISTEN_GRPC"): "0.0.0.0:4317",
    variable("CX_LISTEN_HTTP"): "0.0.0.0:4318",
    variable("CX_LISTEN_HEALTH"): "0.0.0.0:13133",
    variable("CX_TELEMETRY_HOST"): "0.0.0.0",  # noqa: S104  in a pod
    variable("CX_TELEMETRY_PORT"): 8888,
    variable("CX_STORAGE"): f"{_FOLDER}/queue",
}
"""What every pod has alike. The operator reads the ports for services and probes out of the
configuration, so they stand there as they are.
"""


def settled(config: Any) -> Any:
    """A configuration in which only what differs between clusters is a variable."""
    if isinstance(config, dict):
        return {key: settled(value) for key, value in config.items()}
    if isinstance(config, list):
        return [settled(each) for each in config]
    return _SETTLED.get(config, config)


def _collector(name: str, mode: str, config: Part, more: Part, env: Mapping[str, str]) -> Part:
    return {
        "apiVersion": "opentelemetry.io/v1beta1",
        "kind": "OpenTelemetryCollector",
        "metadata": {"name": name},
        "spec": {
            "mode": mode,
            "image": IMAGE,
            **more,
            **({"env": [{"name": key, "value": env[key]} for key in env]} if env else {}),
            "resources": {
                "requests": {"cpu": "200m", "memory": "256Mi"},
                "limits": {"memory": "1Gi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [{"name": _VOLUME, "mountPath": _FOLDER}],
            "config": settled(config),
        },
    }


def _daemon_set(config: Part) -> Part:
    more = {
        "volumes": [
            {
                "name": _VOLUME,
                "hostPath": {"path": "/var/lib/cxtrace-agent", "type": "DirectoryOrCreate"},
            }
        ],
        # The folder of a node belongs to root.
        "podSecurityContext": {"runAsUser": 0},
    }
    gateway = {"CX_GATEWAY": f"{_BALANCING}-collector:4317"}
    return _collector(_AGENT, "daemonset", config, more, gateway)


def _deployment(config: Part) -> Part:
    more = {"replicas": 2, "volumes": [{"name": _VOLUME, "emptyDir": {}}]}
    return _collector(_BALANCING, "deployment", config, {**more, **_SAFE}, {})


def _stateful_set(config: Part) -> Part:
    claim = {
        "metadata": {"name": _VOLUME},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
        },
    }
    more = {
        "replicas": 3,
        "volumeClaimTemplates": [claim],
        # Long enough to decide on what waits and to send it.
        "terminationGracePeriodSeconds": 60,
        **_SAFE,
    }
    stores = {
        "CX_JAEGER": "jaeger:4317",
        "CX_TEMPO": "tempo:4317",
        "CX_CLICKHOUSE": "tcp://clickhouse:9000",
        "CX_PROMETHEUS": "http://prometheus:9090/api/v1/otlp",
    }
    return _collector(_SAMPLING, "statefulset", config, more, stores)


_SAFE: Final[Part] = {
    "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 10_001, "fsGroup": 10_001},
    "podDisruptionBudget": {"maxUnavailable": 1},
}


def _instrumentation() -> Part:
    return {
        "apiVersion": "opentelemetry.io/v1alpha1",
        "kind": "Instrumentation",
        "metadata": {"name": "cxtrace"},
        "spec": {
            "exporter": {"endpoint": f"http://{_AGENT}-collector:4318"},
            # All of it: which journeys are kept is decided behind, where their end is known.
            "sampler": {"type": "parentbased_always_on"},
            "python": {
                "env": [
                    {"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "http/protobuf"},
                    {"name": "CXTRACE_MAP", "value": "/etc/cxtrace/journeys.toml"},
                    {"name": "CXTRACE_KEY_FILE", "value": "/run/secrets/cxtrace"},
                ]
            },
        },
    }
