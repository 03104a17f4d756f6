"""The experiments of SAM's paper on any data set: points, edges, proposals, instances, text."""
