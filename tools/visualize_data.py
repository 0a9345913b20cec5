#!/usr/bin/env python
"""See odam_d2/cli/visualize_data.py."""

import sys

from odam_d2.cli.visualize_data import main

if __name__ == "__main__":
    sys.exit(main())
