#!/usr/bin/env python
"""See odam_d2/cli/check_crowdhuman.py."""

import sys

from odam_d2.cli.check_crowdhuman import main

if __name__ == "__main__":
    sys.exit(main())
