"""Small helpers that know nothing of detectors."""
