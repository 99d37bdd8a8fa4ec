"""The journeys of a recording, for a developer who has no backend."""
