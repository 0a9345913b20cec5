"""The commands: a module each, with `main(argv)` that returns the exit code; and what they share."""
