"""The parts of ``cxtrace.integrations.webhooks``."""
