"""The doctor: examines a service's wiring, and follows one probe to where people will look for it.

``patient`` runs in a process of its own and is what a service would be; the checks look at what it
found; the probe is sent and read back.
"""
