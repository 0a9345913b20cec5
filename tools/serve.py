#!/usr/bin/env python
"""See odam_d2/cli/serve.py."""

import sys

from odam_d2.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())
