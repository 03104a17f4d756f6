"""Tuned weights for other people's tools: each export is read back before it gets its name."""
