#!/usr/bin/env python
"""See odam_d2/cli/export.py."""

import sys

from odam_d2.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
