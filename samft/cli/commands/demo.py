"""`samft demo`: the quick start, from anywhere."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Run the packaged quick-start recipe; options are those of `samft fit`."""
    from samft.cli.lightning import main as fit

    return fit(["fit", "--config", "recipes/quickstart.yaml", *argv])
