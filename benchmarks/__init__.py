"""What cxtrace costs, beside hand-written OpenTelemetry code that sets the same attributes."""
