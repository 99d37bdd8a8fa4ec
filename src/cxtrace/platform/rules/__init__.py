"""What watches over the promises of a map: rules for Prometheus, their tests, and SLO files."""

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.rules import alerts, promtool, recording, slo
from cxtrace.platform.rules.options import Options
from cxtrace.platform.writing import Files, made_by, yaml_text

__all__ = ["Options", "rule_files"]


def rule_files(journey_map: JourneyMap, options: Options) -> Files:
    """All files of ``cxtrace rules``, the same for the same map and options.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    comment = made_by("rules", journey_map.name)
    kept, watching = recording.groups(journey_map, options), alerts.groups(journey_map, options)
    documents = {
        "rules/recording.yaml": {"groups": kept},
        "rules/alerts.yaml": {"groups": watching},
        "tests/alerts.yaml": promtool.document([*kept, *watching], journey_map, options),
        "slo/sloth.yaml": slo.sloth(journey_map, options),
    }
    files = {name: yaml_text(document, comment) for name, document in documents.items()}
    first, *others = slo.openslo(journey_map, options)
    openslo = [yaml_text(first, comment), *map(yaml_text, others)]
    return {**files, "slo/openslo.yaml": "---\n".join(openslo)}
