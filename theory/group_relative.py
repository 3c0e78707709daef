r"""Group-relative REINFORCE and its variants (Yao et al. 2025, arXiv 2509.24203), exactly, for one softmax policy.

A sample y with probability ratio :math:`\rho=\pi_\theta(y)/\pi_{old}(y)` and advantage A adds
:math:`g(\rho,A)\nabla\log\pi_\theta(y)` to the direction of the update.  `masks` is written with operators alone, so
that it takes NumPy arrays and torch tensors alike: what is proven and what is trained cannot differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from claimlab.checks import Array


def masks(ratio: Any, A: Any, low: Any, high: Any, far_low: Any, far_high: Any) -> tuple[Any, Any, Any]:
    """Which samples keep their gradient: two-side, ring and one-side masks."""
    two = (ratio >= 1 - low) & (ratio <= 1 + high)
    ring = two | ((A >= 0) & (ratio <= 1 - far_low)) | ((A <= 0) & (ratio >= 1 + far_high))
    one = ((A >= 0) & (ratio <= 1 + high)) | ((A <= 0) & (ratio >= 1 - low))
    return two, ring, one


def logit_direction(law: Array, policy: Array, g: Array) -> Array:
    r"""The expected direction :math:`E_{y\sim law}[g(y)\nabla_\theta\log\pi_\theta(y)]` of logits, float[Y].

    Args:
        law: float[Y], the law of the data.
        policy: float[Y], the softmax policy of the logits.
        g: float[Y], the factor of each answer's score.
    """
    c = law * g
    direction: Array = c - policy * np.sum(c)
    return direction
