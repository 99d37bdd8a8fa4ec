"""Checks of providers, processors, exporters and the sampler: what is at work, and whose it is."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from cxtrace._wiring_facts import ExporterFacts, ProcessorFacts, ProviderFacts
from cxtrace.platform.doctor.subject import Finding, Findings, Subject

_GRPC, _HTTP = 4317, 4318
_TWICE: Final = "Overriding of current TracerProvider is not allowed"
_SILENT: Final = ("AlwaysOffSampler", "TraceIdRatioBased{0}", "TraceIdRatioBased{0.0}")


def not_configured(subject: Subject) -> Findings:
    """Whether anybody has called ``configure()``."""
    if subject.facts.state == "not_configured" and subject.refusal is None:
        yield Finding(
            "not-configured",
            "error",
            "configure() has not been called: touchpoints are made, but without key, map, tags on "
            "the spans of others and promises of delivery.",
            "Is it called in a lifespan, which the doctor does not run? Then put the settings into "
            "the environment and leave --app out, or call configure() at import. Else call it "
            "where the application starts, or name to --app the module that does, or set "
            "CXTRACE_MAP under `cxtrace run`.",
        )


def apart(subject: Subject) -> Findings:
    """Whether the provider takes our processor."""
    traces = subject.facts.traces
    if traces.origin == "apart":
        yield Finding(
            "provider-apart",
            "error",
            f"The tracer provider, {traces.name} of {traces.owner}, takes no span processors: "
            "touchpoints become its spans, but the spans of others under them are not tagged.",
            "Let OpenTelemetry's own TracerProvider be the one, and that of others export from it.",
        )


def replaced(subject: Subject) -> Findings:
    """Whether spans begin elsewhere now than configure() has seen."""
    facts = subject.facts
    if facts.is_replaced:
        yield Finding(
            "provider-replaced",
            "error",
            f"After configure(), the tracer provider was replaced by {facts.traces.name} of "
            f"{facts.traces.owner}: spans of others are not tagged, and form other traces.",
            "Set your provider before cxtrace.configure(), which joins it, and set it once.",
        )
    elif any(text.startswith(_TWICE) for text in subject.said):
        yield Finding(
            "provider-twice",
            "error",
            "A second tracer provider was set. OpenTelemetry refuses that, so what the second "
            "one was meant to export is never sent.",
            "Set one provider, before cxtrace.configure(), and add all exporters to it.",
        )


def other_agents(subject: Subject) -> Findings:
    """Whether somebody else traces this process beside OpenTelemetry."""
    for name in subject.facts.others:
        if name.startswith("Logfire"):
            yield Finding(
                "logfire-second",
                "warning",
                f"{name} was configured after a tracer provider had been set, so it sends nothing "
                "of what begins there.",
                "Call logfire.configure() first: cxtrace.configure() then joins its provider.",
            )
            continue
        yield Finding(
            "two-agents",
            "warning",
            f"{name} traces this process too: each request becomes two traces, and both write "
            "the headers of the calls that go out.",
            f"Switch the tracing of {name} off, or let it take OpenTelemetry's spans.",
        )


def simple_processor(subject: Subject) -> Findings:
    """Whether each span is sent while the customer waits."""
    for signal, processor, exporter in _senders(subject):
        is_simple = processor.short.startswith("Simple") and processor.short.endswith("Processor")
        if is_simple and exporter.endpoint is not None:
            yield Finding(
                "simple-processor",
                "error",
                f"{processor.short} sends each of the {signal} to {exporter.endpoint} on its own "
                "while the request waits, for seconds where nobody answers.",
                f"Use {processor.short.replace('Simple', 'Batch')} in its place.",
            )


def sent_twice(subject: Subject) -> Findings:
    """Whether two processors send the same to the same place."""
    for signal, provider in _providers(subject):
        places = Counter(
            _place(each.exporter.endpoint)
            for each in provider.processors
            if each.exporter is not None and each.exporter.endpoint is not None
        )
        for place, times in places.items():
            if times > 1:
                yield Finding(
                    "sent-twice",
                    "error",
                    f"{times} processors send all {signal} to {place}: each arrives more than "
                    "once.",
                    "Leave one of them: where a provider has an exporter of its own, "
                    "configure(exporter=…) and CXTRACE_EXPORTER add a second one.",
                )


def _place(endpoint: str) -> str:
    """The host, and the port where it is not one of the two that a Collector has for the same."""
    parts = urlsplit(endpoint)
    port = _port(endpoint)
    return f"{parts.hostname}" if port in (_GRPC, _HTTP) else f"{parts.hostname}:{port}"


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint).port
    except ValueError:
        return None


def wrong_port(subject: Subject) -> Findings:
    """Whether the protocol is that of the other port."""
    told = set()
    for _, _, exporter in _senders(subject):
        endpoint = exporter.endpoint or ""
        usual = {"grpc": _HTTP, "http/protobuf": _GRPC}.get(exporter.protocol or "")
        if usual is None or _port(endpoint) != usual or endpoint in told:
            continue
        told.add(endpoint)
        other = "http/protobuf" if exporter.protocol == "grpc" else "grpc"
        yield Finding(
            "wrong-port",
            "error",
            f"{endpoint} is spoken to over {exporter.protocol}, but port {usual} is usually OTLP "
            f"over {other}.",
            f"Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or port {_GRPC + _HTTP - usual}.",
        )


def sends_nothing(subject: Subject) -> Findings:
    """Whether spans go anywhere."""
    traces = subject.facts.traces
    if subject.facts.state != "configured" or traces.origin == "apart":
        return
    if traces.processors and all(each.exporter is None for each in traces.processors):
        if traces.origin != "built":
            found = f"The provider of {traces.owner} has no exporter that is known here."
        elif subject.is_exporter_open:
            found = (
                "No exporter is set: on a terminal the spans are printed, and elsewhere nobody "
                "will see them."
            )
        else:
            found = "No exporter that is known here takes the spans: nobody will see them."
        yield Finding(
            "sends-nothing",
            "warning",
            found,
            "Set OTEL_EXPORTER_OTLP_ENDPOINT=http://… of your Collector, or CXTRACE_EXPORTER.",
        )


def sampler(subject: Subject) -> Findings:
    """Whether the sampler keeps anything."""
    found = subject.facts.sampler
    if found is None:
        return
    root = found.description.partition("root:")[2] or found.description
    if subject.keeps_nothing or root.startswith(_SILENT):
        yield Finding(
            "sampler-drops-all",
            "error",
            f"The sampler, {found.short} of {found.owner}, keeps no trace that begins here.",
            "Mend OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, or sample of configure(); "
            "metrics stay exact under any share above 0.",
        )


def threads(subject: Subject) -> Findings:
    """Whether the threads that send can run."""
    process = subject.facts.process
    if not process.has_threads:
        yield Finding(
            "no-threads",
            "error",
            "uWSGI stops Python's threads, and with them those that send.",
            "Start uWSGI with --enable-threads.",
        )
    if process.is_patched_late:
        yield Finding(
            "patched-late",
            "error",
            f"{process.patched} replaced the standard library's threads after cxtrace was "
            "imported, whose locks then block all of its greenlets.",
            f"Let the first lines of the program patch, before it imports anything else: "
            f"{_FIRST_LINES.get(process.patched or '', '')}.",
        )


_FIRST_LINES: Final = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


def _providers(subject: Subject) -> Iterator[tuple[str, ProviderFacts]]:
    facts = subject.facts
    yield from (("spans", facts.traces), ("metrics", facts.metrics), ("log records", facts.logs))


def _senders(subject: Subject) -> Iterator[tuple[str, ProcessorFacts, ExporterFacts]]:
    for signal, provider in _providers(subject):
        for each in provider.processors:
            if each.exporter is not None:
                yield signal, each, each.exporter
