"""Write spans to a file of OTLP JSON lines, and read them back."""

import tempfile
from pathlib import Path

import cxtrace
from cxtrace import touchpoint
from cxtrace.exporters import read_spans

if __name__ == "__main__":
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "spans.jsonl")
    cxtrace.configure(service_name="shop", exporter=f"file:{path}")

    with touchpoint("cart.view", stage="purchase", owner="sales"):
        pass

    print("delivered:", cxtrace.flush())
    for span in read_spans(path):
        print(span.name, span.attributes["cx.touchpoint.outcome"])
    folder.cleanup()
