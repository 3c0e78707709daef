r"""Single-stream Policy Optimization (SPO): one answer a prompt, and a value tracker instead of a group.

The tracker of a prompt counts successes and failures with forgetting: after a reward r in {0, 1},
:math:`\alpha\leftarrow\rho\alpha+r`, :math:`\beta\leftarrow\rho\beta+1-r` (Eq. 4-5), and
:math:`\hat v=\alpha/(\alpha+\beta)`.  Identities are enumerated: trackers over all reward strings, groups over all
answers.  Accuracy at equal samples on tasks needs a model.
"""

from __future__ import annotations

from claimlab.experiments.papers.spo import baselines, groups, population, throughput, tracker
from claimlab.experiments.papers.spo.common import PAPER
from claimlab.experiments.papers.spo.figures import FIGURES

CLAIMS = (
    *tracker.CLAIMS,
    *groups.CLAIMS,
    *baselines.CLAIMS,
    *population.CLAIMS,
    *throughput.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
