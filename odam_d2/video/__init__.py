"""Videos: read, explained frame by frame, tracked, drawn and written."""
