"""Proof: tuned beside zero-shot on the same cases, the paper's protocols, baselines, reports."""
