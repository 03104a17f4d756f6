"""Learning rates that are far from what has worked for tuning published SAM weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from samft.optim.groups import GroupRow

USUAL_RATES: Final[dict[str, tuple[float, float]]] = {
    "image_encoder": (1e-6, 1e-4),
    "mask_decoder": (1e-5, 3e-4),
}
"""Lowest and highest peak rate, AdamW, that keeps what pre-training taught a part.

Source: MedSAM and the Hugging Face recipe tune the decoder with 1e-4 and 1e-5, micro-sam all of SAM
with 1e-5, SAM 2 its encoder with 3e-6; at 5e-4 full tuning collapses (micro-sam).
"""


def unusual_rates(rows: Sequence[GroupRow]) -> list[str]:
    """Return a sentence for each part whose peak rate lies outside `USUAL_RATES`.

    Args:
        rows: What `describe` says of an AdamW optimiser that starts from published weights.
            Weights trained from nothing want higher rates, and Muon has a scale of its own.
    """
    found = []
    for part, (low, high) in USUAL_RATES.items():
        rates = [row.lr for row in rows if row.name.split("/")[0] == part]
        if rates and not low <= max(rates) <= high:
            word = "high: what SAM learned may be lost" if max(rates) > high else "low"
            found.append(
                f"the peak rate of the {part}, {max(rates):.1e}, is unusually {word}; "
                f"{low:.0e} to {high:.0e} is usual"
            )
    return found
