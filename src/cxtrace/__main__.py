"""``python -m cxtrace``: the same as the command ``cxtrace``."""

import sys

from cxtrace.cli import main

if __name__ == "__main__":
    sys.exit(main())
