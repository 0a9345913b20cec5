"""Heat maps for eyes: overlays, a report to leaf through, and files to keep."""
