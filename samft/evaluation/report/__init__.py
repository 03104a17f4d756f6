"""The report of a run: one HTML file, Markdown, `metrics.json`, a model card."""
