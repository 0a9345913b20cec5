#!/usr/bin/env python
"""See odam_d2/cli/train.py."""

from odam_d2.cli.train import argument_parser, start

if __name__ == "__main__":
    start(argument_parser().parse_args())
