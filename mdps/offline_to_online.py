r"""What a user's own log leaves to explore: online episodes, where they go, and what can be verified without any.

For each step h the least number of episodes that makes every policy known as well as its gap asks for is
:math:`T_h = T_{o2o}` of :mod:`claimlab.mdps.coverage`, with the exploration of each step counted on its own; their sum
is what FTPedel needs, up to its factor of :math:`\lceil\log_2(4/\epsilon)\rceil` epochs and its constants in
:math:`\beta` (Wagenmaker & Pacchiano 2023).  Without online episodes nothing is *verifiable* below

.. math:: \epsilon_0 = \max_h \max\{\sqrt{\beta}\,\|\phi_{\pi,h}\|_{\Lambda_{off,h}^{-1}} :
          \sqrt{\beta}\,\|\phi_{\pi,h}\|_{\Lambda_{off,h}^{-1}} > \mathrm{gap}_\pi\} ,

the least accuracy for which all :math:`T_h` are zero; it is infinite where a policy goes where the log never was.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Bools
from claimlab.mdps.coverage import Design, o2o_episodes
from claimlab.mdps.fine_tuning import derived_beta, estimated
from claimlab.mdps.logs import Log
from claimlab.mdps.prefixes import prefixes
from claimlab.mdps.staged import StagedMDP


class OnlineNeeds(NamedTuple):
    """What is left to explore."""

    episodes: float  # sum over the steps of T_o2o, in episodes: attained by `designs`
    lower: float  # no design needs fewer
    designs: tuple[Design, ...]  # of each step: what to play for it, and its certificate
    explore: Array  # [H, S, A], visits that the designs of each step make there
    unseen: Bools  # [H, S, A], pairs of the log without a visit
    verifiable: float  # the least accuracy that the log alone can verify; infinite if none
    eps: float
    beta: float
    model_given: bool  # if not, every number rests on the log's own estimate of the MDP, and is none of its bounds

    @property
    def verifiable_offline(self) -> bool:
        """Whether the log alone verifies the accuracy that was asked for."""
        return self.verifiable <= self.eps


def offline_to_online(
    mdp: StagedMDP | None, dataset: Log, eps: float, *, delta: float = 0.1, beta: float | None = None,
    initial: Array | None = None, mixtures: bool = False, tol: float = 1e-4,
) -> OnlineNeeds:  # fmt: skip
    r"""How many online episodes a log leaves to play for an `eps`-optimal policy, and where.

    Parameters
    ----------
    mdp : StagedMDP or None
        The MDP, as far as it is believed in.  None: the log's own estimate, in which unseen pairs lead anywhere and pay
        nothing; the answer is then a plug-in estimate, and says so.
    dataset : Log
        Counts of transitions and sums of rewards (:func:`~claimlab.mdps.logs.episode_log` makes one of episodes).
    eps : float
        Positive, in units of the return.
    delta : float
        Of the derived :math:`\beta`, with all deterministic policies as the class.
    beta : float, optional
        Instead of it.
    initial : float[S], optional
        Law of the first state for the estimated MDP; by default the log's frequencies.
    mixtures, tol
        As in :func:`~claimlab.mdps.coverage.o2o_episodes`.

    Examples
    --------
    >>> bandit = StagedMDP(P=[[[[1.0]] * 3]], r=[[[0.9, 0.7, 0.4]]])
    >>> log = Log(transitions=[[[[300], [0], [0]]]], rewards=[[[270.0, 0, 0]]])
    >>> needs = offline_to_online(bandit, log, eps=0.1, beta=8.0)
    >>> round(needs.episodes), needs.verifiable_offline, needs.unseen.sum()
    (732, False, np.int64(2))
    """
    eps, delta = checks.interval("eps", eps, 0, np.inf, "()"), checks.interval("delta", delta, 0, 1, "()")
    H, S, A, _ = dataset.transitions.shape
    if mdp is None:
        model = estimated(dataset, _first_states(dataset, initial))
    elif initial is not None:
        raise ValueError("initial is read from mdp; leave it out, or pass mdp=None.")
    elif mdp.P.shape != dataset.transitions.shape:
        raise ValueError(f"dataset must hold transitions of shape {mdp.P.shape}, got {dataset.transitions.shape}.")
    else:
        model = mdp
    if beta is None:
        beta = derived_beta(H, float(A) ** min(S * H, 600), delta, 0)
    visits = dataset.visits
    designs = tuple(
        o2o_episodes(model, h, eps, beta, visits[h], mixtures=mixtures, tol=tol) for h in range(H)
    )  # fmt: skip
    explore = np.array([design.occupancy * design.episodes for design in designs])
    return OnlineNeeds(
        float(sum(design.value for design in designs)), float(sum(design.lower for design in designs)), designs,
        explore, visits == 0, _verifiable(model, visits, beta), eps, beta, mdp is not None,
    )  # fmt: skip


def _first_states(dataset: Log, initial: Array | None) -> Array:
    if initial is not None:
        return checks.distributions("initial", initial, ndim=1)
    began = dataset.transitions[0].sum(axis=(1, 2))
    if began.sum() == 0:
        raise ValueError("dataset holds no episode, so the law of the first state is unknown; pass initial.")
    return np.asarray(began / began.sum())


def _verifiable(mdp: StagedMDP, visits: Array, beta: float) -> float:
    """The least eps at which every policy is known from the log as well as its gap asks for."""
    least = 0.0
    for h, n in enumerate(visits.reshape(mdp.horizon, -1)):
        found = prefixes(mdp, h)
        w = found.occupancy.reshape(len(found.gap), -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.where(w > 0, w**2 / n, 0.0).sum(axis=1)
        width = np.sqrt(beta * squares)
        least = max(least, float(width[width > found.gap].max(initial=0.0)))
    return least
