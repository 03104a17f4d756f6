"""Measurements that are repeated by command; not part of the package."""
