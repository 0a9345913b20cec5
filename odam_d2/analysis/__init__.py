"""What goes wrong in a data set, by which mechanism, and what the maps say of it."""
