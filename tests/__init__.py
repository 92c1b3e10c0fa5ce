"""The tests of kvd.

Thousands of processes run its code and theirs: what one compiles is kept for the next, whatever the environment says.
"""

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
