r"""The losses of PPO, GRPO, Dr. GRPO, DAPO, CISPO and GSPO: clipped ratios, and three ways to add up tokens.

All take log-probabilities float[N, T] with a gradient, a `Batch` and constants `A` (float[N] or [N, T], from
`signals`), and return one number to be minimised.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor

from claimlab.checks import interval, nearest
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.surrogates import log_ratio

Sum = Literal["answer", "token", "constant", "total"]
SUMS = ("answer", "token", "constant", "total")


def ppo(
    logp: Tensor, batch: Batch, A: Tensor, *, low: float = 0.2, high: float = 0.2, over: Sum = "answer", budget: int = 0
) -> Tensor:
    r"""PPO's :math:`-\min(\rho A,\mathrm{clip}(\rho,1-low,1+high)A)` for each token; see `add_up` for `over`.

    With `signals.standardised` it is GRPO ("answer") or DAPO ("token"); with `signals.centred` Dr. GRPO ("constant").
    """
    low, high = interval("low", low, 0, 1), interval("high", high, 0, inf, "[]")
    ratio, A = log_ratio(logp, batch).exp(), _columns(A)
    return add_up(-torch.minimum(ratio * A, ratio.clamp(1 - low, 1 + high) * A), batch, over, budget)


def cispo(logp: Tensor, batch: Batch, A: Tensor, *, high: float = 0.2, over: Sum = "token", budget: int = 0) -> Tensor:
    """CISPO: REINFORCE with the capped ratio, a constant for the derivative, as weight (MiniMax 2025)."""
    ratio = log_ratio(logp, batch).detach().exp().clamp(max=1 + interval("high", high, 0, inf, "[]"))
    return add_up(-ratio * _columns(A) * torch.where(batch.tokens, logp, 0.0), batch, over, budget)


def gspo(logp: Tensor, batch: Batch, A: Tensor, *, low: float = 3e-4, high: float = 4e-4) -> Tensor:
    """GSPO: one ratio for a whole answer, the geometric mean of its tokens' (Zheng et al. 2025, Eqs. 5 and 7)."""
    low, high = interval("low", low, 0, 1), interval("high", high, 0, inf, "[]")
    ratio = (log_ratio(logp, batch).sum(1) / batch.tokens.sum(1).clamp(min=1)).exp()
    return (batch.weights * -torch.minimum(ratio * A, ratio.clamp(1 - low, 1 + high) * A)).sum()


def penalty(logp: Tensor, batch: Batch, reference: Tensor, over: Sum = "answer", budget: int = 0) -> Tensor:
    r"""GRPO's estimator of KL to float[N, T] `reference`: :math:`e^{x}-1-x`, Schulman's k3."""
    gap = torch.where(batch.tokens, reference - logp, 0.0)
    return add_up(gap.exp() - 1 - gap, batch, over, budget)


def add_up(terms: Tensor, batch: Batch, over: Sum, budget: int = 0) -> Tensor:
    """One number from float[N, T] `terms`: the mean over answers of their tokens' ...

    mean ("answer"), sum ("total"), or sum over `budget` tokens, the longest answer allowed ("constant"); or the mean
    over all tokens ("token").
    """
    if over not in SUMS:
        raise ValueError(f"over must be one of {', '.join(SUMS)}{nearest(over, list(SUMS))}; got {over!r}.")
    sums, lengths = torch.where(batch.tokens, terms, 0.0).sum(1), batch.tokens.sum(1)
    if over == "answer":
        return (batch.weights * sums / lengths.clamp(min=1)).sum()
    if over == "token":
        return (batch.weights * sums).sum() / (batch.weights * lengths).sum()
    if over == "constant" and budget < 1:
        raise ValueError(f"budget must be the longest answer allowed where over is 'constant', got {budget!r}.")
    return (batch.weights * sums).sum() / (budget if over == "constant" else 1)


def _columns(A: Tensor) -> Tensor:
    return (A[:, None] if A.ndim == 1 else A).detach()
