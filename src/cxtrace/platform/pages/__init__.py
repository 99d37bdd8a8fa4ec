"""Pages of HTML that need nothing else: one file, no network, readable by people and machines."""
