"""The parts of the spool: one file each."""
