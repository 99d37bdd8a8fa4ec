"""From a name of the map, or an id, to the traces: addresses of searches, and Jaeger's own files.

Nothing here looks anything up: what is given goes in, text comes out.
"""
