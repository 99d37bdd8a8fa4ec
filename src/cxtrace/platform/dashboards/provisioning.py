"""What Grafana reads when it starts: where its data is, and where its dashboards are."""

from typing import Final

from attrs import frozen

NO_JOB: Final = (
    "The boards are about customers, whichever process served them; and VictoriaMetrics gives"
    " metrics that come as OTLP no job and no instance. The variable Filters takes any label."
)

PROMETHEUS_UID: Final = "cx-prometheus"
TEMPO_UID: Final = "cx-tempo"
JAEGER_UID: Final = "cx-jaeger"


@frozen
class Places:
    """Where Grafana finds what it shows, as Grafana itself sees it.

    Attributes:
        prometheus: Of Prometheus, or of anything with its API.
        tempo: Of Tempo.
        jaeger: Of Jaeger's query service.
        mounted_at: The folder with the dashboards.
    """

    prometheus: str = "http://localhost:9090"
    tempo: str = "http://localhost:3200"
    jaeger: str = "http://localhost:16686"
    mounted_at: str = "/etc/grafana/dashboards/cxtrace"


def datasources(places: Places) -> dict[str, object]:
    """The data sources; from an exemplar the way leads to its trace in either store."""
    exemplars = [
        {"name": "trace_id", "datasourceUid": uid, "urlDisplayLabel": f"Trace in {name}"}
        for uid, name in ((TEMPO_UID, "Tempo"), (JAEGER_UID, "Jaeger"))
    ]
    return {
        "apiVersion": 1,
        "datasources": [
            {
                **_source("Prometheus", PROMETHEUS_UID, places.prometheus),
                "jsonData": {"httpMethod": "POST", "exemplarTraceIdDestinations": exemplars},
            },
            _source("Tempo", TEMPO_UID, places.tempo),
            _source("Jaeger", JAEGER_UID, places.jaeger),
        ],
    }


def _source(name: str, uid: str, url: str) -> dict[str, object]:
    return {
        "name": f"{name} (cxtrace)",
        "uid": uid,
        "type": name.lower(),
        "access": "proxy",
        "url": url,
    }


def providers(places: Places) -> dict[str, object]:
    """Where the dashboards are."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "cxtrace",
                "folder": "Customer experience",
                "type": "file",
                "allowUiUpdates": False,
                "options": {"path": places.mounted_at},
            }
        ],
    }


def lint_exclusions() -> dict[str, object]:
    """Which rules of Grafana's dashboard-linter do not hold here, and why."""
    rules = ("template-job-rule", "template-instance-rule")
    targets = ("target-job-rule", "target-instance-rule")
    return {"exclusions": {rule: {"reason": NO_JOB} for rule in (*rules, *targets)}}
