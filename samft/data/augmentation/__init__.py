"""Augmentation: samples in, other samples of the same objects out, decided by a seed alone."""
