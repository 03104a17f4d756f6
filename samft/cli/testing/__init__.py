"""`samft test`: a run beside its zero-shot model, baselines and other runs, on the same cases."""
