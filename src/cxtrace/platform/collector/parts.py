"""Parts that the configurations have in common: ways in, ways out, and what keeps them safe.

Whatever differs between a laptop, a compose file and a cluster is a variable of the environment, so
that one set of files serves all. ``VARIABLES`` lists them.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

from cxtrace.platform.collector.redaction import Part

Destination: TypeAlias = Literal["jaeger", "tempo", "clickhouse", "prometheus"]
"""A store that the files can send to."""
DESTINATIONS: Final[tuple[Destination, ...]] = get_args(Destination)

Signal: TypeAlias = Literal["traces", "metrics", "logs"]

TAKES: Final[Mapping[Destination, tuple[Signal, ...]]] = {
    "jaeger": ("traces",),
    "tempo": ("traces",),
    "clickhouse": ("traces", "metrics", "logs"),
    "prometheus": ("metrics",),
}
"""What each store takes."""

EXPORTERS: Final[Mapping[Destination, str]] = {
    "jaeger": "otlp_grpc/jaeger",
    "tempo": "otlp_grpc/tempo",
    "clickhouse": "clickhouse",
    "prometheus": "otlp_http/prometheus",
}

VARIABLES: Final[Mapping[str, str]] = {
    "CX_LISTEN_GRPC": "localhost:4317",
    "CX_LISTEN_HTTP": "localhost:4318",
    "CX_LISTEN_HEALTH": "localhost:13133",
    "CX_TELEMETRY_HOST": "localhost",
    "CX_TELEMETRY_PORT": "8888",
    "CX_STORAGE": "/var/lib/otelcol/file_storage",
    "CX_INSECURE": "true",
    "CX_GATEWAY": "localhost:14317",
    "CX_GATEWAYS": "[localhost:24317, localhost:34317, localhost:44317]",
    "CX_DECISION_WAIT": "30s",
    "CX_LONG": "30s",
    "CX_KEEP_PERCENT": "10",
    "CX_JAEGER": "localhost:4317",
    "CX_TEMPO": "localhost:4317",
    "CX_PROMETHEUS": "http://localhost:9090/api/v1/otlp",
    "CX_CLICKHOUSE": "tcp://localhost:9000",
    "CX_CLICKHOUSE_USER": "default",
    "CX_CLICKHOUSE_PASSWORD": "",
    "CX_KAFKA": "[localhost:9092]",
}
"""What the environment may say, and what stands without it."""


def variable(name: str) -> str:
    """The value of a variable, or what stands without it."""
    return f"${{env:{name}:-{VARIABLES[name]}}}"


STORAGE: Final = "file_storage"

_FOR_EVER: Final = {"initial_interval": "1s", "max_interval": "30s", "max_elapsed_time": "0s"}
_TLS: Final = {"insecure": variable("CX_INSECURE")}


def receiver() -> Part:
    """What takes OTLP."""
    return {
        "protocols": {
            "grpc": {"endpoint": variable("CX_LISTEN_GRPC")},
            "http": {"endpoint": variable("CX_LISTEN_HTTP")},
        }
    }


def extensions() -> Part:
    """Health, and a folder for what waits."""
    return {
        "health_check": {"endpoint": variable("CX_LISTEN_HEALTH")},
        STORAGE: {
            "directory": variable("CX_STORAGE"),
            "create_directory": True,
            "recreate": True,
        },
    }


def telemetry() -> Part:
    """What the Collector says of itself: what it took, sent, refused and holds."""
    here = {"host": variable("CX_TELEMETRY_HOST"), "port": variable("CX_TELEMETRY_PORT")}
    return {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": here}}}]}}


def memory_limiter() -> Part:
    """Refuses what would not fit; the sender keeps it and tries again."""
    return {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20}


def on_disk() -> Part:
    """A queue that outlives the process: what is taken is on disk before the sender hears of it.

    Batches are made behind it, so that none waits in memory alone.
    """
    return {
        "storage": STORAGE,
        "sizer": "bytes",
        "queue_size": 268_435_456,
        "batch": {
            "flush_timeout": "200ms",
            "sizer": "items",
            "min_size": 1_000,
            "max_size": 5_000,
        },
    }


def to_gateway() -> Part:
    """From a host to the gateways."""
    return {
        "endpoint": variable("CX_GATEWAY"),
        "tls": _TLS,
        "compression": "zstd",
        "retry_on_failure": _FOR_EVER,
        "sending_queue": on_disk(),
    }


def balancer(routing_key: str, resolver: Part | None = None) -> Part:
    """From one tier of gateways to the next, to one by a key.

    Each gateway has a queue of its own, in memory: one that is down holds up nothing but its share,
    which is sent again until it is taken. A queue before the choice could be on disk, but one
    gateway that is down would then have whole batches sent twice to the others.
    """
    return {
        "routing_key": routing_key,
        "protocol": {
            "otlp": {
                "tls": _TLS,
                "compression": "zstd",
                "retry_on_failure": _FOR_EVER,
                "sending_queue": {"sizer": "bytes", "queue_size": 134_217_728},
            }
        },
        "resolver": resolver or {"static": {"hostnames": variable("CX_GATEWAYS")}},
    }


def stores(destinations: Iterable[Destination]) -> Part:
    """The exporters to stores, each with a queue on disk."""
    return {EXPORTERS[each]: _STORES[each]() for each in destinations}


def _otlp(name: str) -> Part:
    return {
        "endpoint": variable(name),
        "tls": _TLS,
        "retry_on_failure": _FOR_EVER,
        "sending_queue": on_disk(),
    }


def _prometheus() -> Part:
    return {
        "endpoint": variable("CX_PROMETHEUS"),
        "retry_on_failure": _FOR_EVER,
        # Prometheus refuses what is older than what it has, so the order counts.
        "sending_queue": {**on_disk(), "num_consumers": 1},
    }


def _clickhouse() -> Part:
    return {
        "endpoint": variable("CX_CLICKHOUSE"),
        "username": variable("CX_CLICKHOUSE_USER"),
        "password": variable("CX_CLICKHOUSE_PASSWORD"),
        "database": "otel",
        "create_schema": True,
        "ttl": "720h",
        "retry_on_failure": _FOR_EVER,
        "sending_queue": on_disk(),
    }


_STORES: Final = {
    "jaeger": lambda: _otlp("CX_JAEGER"),
    "tempo": lambda: _otlp("CX_TEMPO"),
    "clickhouse": _clickhouse,
    "prometheus": _prometheus,
}

_TOPICS: Final[Mapping[Signal, str]] = {
    "traces": "cxtrace_traces",
    "metrics": "cxtrace_metrics",
    "logs": "cxtrace_logs",
}


def to_kafka(signals: Iterable[Signal]) -> Part:
    """To a topic for each signal; spans of a trace to one partition."""
    return {
        "brokers": variable("CX_KAFKA"),
        **{signal: {"topic": _TOPICS[signal]} for signal in signals},
        "partition_traces_by_id": True,
        "producer": {"required_acks": -1, "compression": "zstd"},
        "retry_on_failure": _FOR_EVER,
        "sending_queue": on_disk(),
    }


def from_kafka(signals: Iterable[Signal]) -> Part:
    """From the same topics. A message counts as read once it is on the disk of the queues."""
    return {
        "brokers": variable("CX_KAFKA"),
        "group_id": "cxtrace-stores",
        "initial_offset": "earliest",
        **{signal: {"topics": [_TOPICS[signal]]} for signal in signals},
        "message_marking": {"after": True, "on_error": False},
        "error_backoff": {"enabled": True},
    }
