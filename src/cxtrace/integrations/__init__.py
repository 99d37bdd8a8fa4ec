"""Frameworks and libraries that cxtrace works with, one a module; each is imported on demand."""
