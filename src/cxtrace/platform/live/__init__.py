"""The living map: what was measured, laid over what the map plans."""
