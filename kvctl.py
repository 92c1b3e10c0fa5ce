#!/usr/bin/env python3
"""The command line of kvd's clients."""

import sys

from kvd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
