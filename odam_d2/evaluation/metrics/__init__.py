"""What is measured of a map: one number for an object."""
