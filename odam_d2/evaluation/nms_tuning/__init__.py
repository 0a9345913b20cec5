"""Choosing thresholds: a detector's candidates, kept, and suppressed in every way of a grid."""
