"""Configurations of the OpenTelemetry Collector, made from a journey map."""
