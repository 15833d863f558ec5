"""`python -m tinykmod` is the `tinykmod` command."""

import sys

from tinykmod.cli import main

if __name__ == "__main__":
    sys.exit(main())
