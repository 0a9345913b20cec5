"""A measuring run over a data set: what is measured of each image, kept, summed up and compared."""
