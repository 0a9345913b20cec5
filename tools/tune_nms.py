#!/usr/bin/env python
"""See odam_d2/cli/tune_nms.py."""

import sys

from odam_d2.cli.tune_nms import main

if __name__ == "__main__":
    sys.exit(main())
