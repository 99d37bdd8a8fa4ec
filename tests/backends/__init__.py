"""Tests against real backends, built by `tools/backends/build`."""
