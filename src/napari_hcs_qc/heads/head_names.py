"""What a person can ask for as a head; light, so that a list of them needs no library."""

from __future__ import annotations

WITH_PRIOR = "linear"
"""The head that takes what is known without annotations as an offset."""

FINE_TUNED: tuple[str, ...] = ("finetune", "finetune-paper")
"""Heads that are trained on crops together with their encoder: ours, and as the paper does."""

ABOUT_HEADS = {
    "linear": "L2 logistic regression, its strength chosen by cross-validation grouped by well.",
    "linear-paper": "One dense layer, trained as Masud, Cohen et al. (2022) train it.",
    "knn": "Vote of the nearest annotated cells (Masud et al. 2022).",
    "forest": "Random forest (scikit-learn's), the baseline head for hand-made features.",
    "finetune": "Fine-tuned: a dense layer, trained together with its encoder (minutes).",
}
"""What each is, by name; `linear` is the default."""

HEAD_NAMES: tuple[str, ...] = (*ABOUT_HEADS, "finetune-paper")
"""What a user can ask for."""
