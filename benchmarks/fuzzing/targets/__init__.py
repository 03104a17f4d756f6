"""The readers that are fuzzed: one file per family."""
