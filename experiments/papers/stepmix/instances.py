"""The instances on which StepMix is tried, each with a baseline and a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.mdps.confidence import L1Sets
from claimlab.mdps.instances import deep_sea, episodic_river_swim
from claimlab.mdps.staged import StagedMDP, softened, staged, staged_optimum, staged_value

DELTA = 0.1


@dataclass(frozen=True, eq=False)
class Task:
    """What a conservative learner is given, and what we know beyond it."""

    mdp: StagedMDP
    baseline: Array  # [H, S, A]
    threshold: float
    sets: L1Sets = field(default_factory=partial(L1Sets, DELTA))

    @property
    def baseline_value(self) -> float:
        return staged_value(self.mdp, self.baseline)

    @property
    def slack(self) -> float:
        """kappa."""
        return self.baseline_value - self.threshold

    @property
    def gap(self) -> float:
        """Delta_0."""
        return staged_optimum(self.mdp).value - self.baseline_value

    def with_slack(self, slack: float) -> Task:
        return Task(self.mdp, self.baseline, self.baseline_value - slack, self.sets)

    def with_scale(self, scale: float) -> Task:
        """Radii multiplied by `scale`: 1 is the theorem."""
        return Task(self.mdp, self.baseline, self.threshold, L1Sets(self.sets.delta, scale, self.sets.pooled))


def task(mdp: StagedMDP, *, temperature: float = 0.1, share: float = 0.7, pooled: bool = False) -> Task:
    """A Boltzmann baseline on optimal values, and `share` of its value as the threshold."""
    baseline = softened(mdp, temperature)
    return Task(mdp, baseline, share * staged_value(mdp, baseline), L1Sets(DELTA, pooled=pooled))


def sparse_terminal(S: int, A: int, H: int, rng: Generator) -> StagedMDP:
    """Random transitions, Dirichlet(0.4), and rewards at the last step alone: 0 to 1 by state, evenly spaced."""
    P, r = rng.dirichlet(np.full(S, 0.4), size=(H, S, A)), np.zeros((H, S, A))
    r[-1] = np.linspace(0, 1, S)[:, None]
    return StagedMDP(P, r)


def published_random(rng: Generator) -> StagedMDP:
    """The paper's synthetic instance: S = A = 5, H = 3, uniform rewards, transitions uniform on the simplex.

    Its rewards are known and dense, so a certificate needs few transitions or none (see the claim about it).
    """
    return StagedMDP(rng.dirichlet(np.ones(5), size=(3, 5, 5)), rng.random((3, 5, 5)))


def cliff_edge(horizon: int, *, success: float = 0.9, safe: float = 0.3) -> StagedMDP:
    """On the path (state 0), action 0 pays `safe` and stays; action 1 leads to a prize (state 1) or over the edge (2).

    The prize pays 1 and leads back to the path; over the edge nothing is paid any more.
    """
    P, r = np.zeros((horizon, 3, 2, 3)), np.zeros((horizon, 3, 2))
    P[:, 0, 0, 0] = P[:, 1, :, 0] = P[:, 2, :, 2] = 1
    P[:, 0, 1] = 0, success, 1 - success
    r[:, 0, 0], r[:, 1] = safe, 1
    return StagedMDP(P, r)


def entrance_lock(dials: int, n_actions: int = 2, *, room: float = 0.5) -> StagedMDP:
    """A first step that cannot be taken back: action 0 to a room that pays `room` at the end, else to a lock.

    States: entrance 0, room 1, dials 2.., jammed last.  The right action at dial i is i modulo A; the last one pays 1.
    """
    S, H = dials + 3, dials + 1
    P, r = np.zeros((H, S, n_actions, S)), np.zeros((H, S, n_actions))
    P[:, 0, 0, 1] = P[:, 0, 1:, 2] = P[:, 1, :, 1] = P[:, S - 1, :, S - 1] = 1
    for i in range(dials):
        P[:, 2 + i, :, S - 1] = 1
        P[:, 2 + i, i % n_actions] = np.eye(S)[3 + i]
    r[H - 1, 1] = room
    r[H - 1, 1 + dials, (dials - 1) % n_actions] = 1
    return StagedMDP(P, r)


def minimax_tree(
    n_actions: int,
    depth: int,
    wait: int,
    pay: int,
    advantage: float = 0.25,
    target: tuple[int, int, int] | None = None,
) -> StagedMDP:
    """A tree with one good action, at one leaf and at one time: the hardest place to find for its size.

    In state 0 action 0 waits, at most until step `wait`, and every action else leads to the root.  A tree of `depth`
    levels follows, an action a child.  From a leaf a fair coin leads to a good or a bad state for the rest, and the
    good one pays 1 in the last `pay` steps.  The coin has `advantage` more for the good state at `target`: the step at
    which the root was reached (1..wait), the leaf and the action; the last of each by default.

    States: waiting 0, the tree 1.., level by level, good, bad.  H = wait + depth + pay.

    Source: Domingues, Menard, Kaufmann & Valko (2021), Episodic reinforcement learning in finite MDPs: minimax lower
    bounds revisited, Figure 1.
    """
    leaves, inner = n_actions ** (depth - 1), (n_actions ** (depth - 1) - 1) // (n_actions - 1)
    first, H = 1 + inner, wait + depth + pay
    good, S = first + leaves, first + leaves + 2
    entry, leaf, action = (wait, leaves - 1, n_actions - 1) if target is None else target
    P, r = np.zeros((H, S, n_actions, S)), np.zeros((H, S, n_actions))
    P[: wait - 1, 0, 0, 0] = P[wait - 1 :, 0, 0, 1] = P[:, 0, 1:, 1] = 1
    for i in range(inner):
        for a in range(n_actions):
            P[:, 1 + i, a, 2 + n_actions * i + a] = 1
    P[:, first:good, :, good:] = 0.5
    P[entry + depth - 1, first + leaf, action, good:] = 0.5 + advantage, 0.5 - advantage
    P[:, good, :, good] = P[:, good + 1, :, good + 1] = 1
    r[wait + depth :, good] = 1
    return StagedMDP(P, r)


@cache
def sparse_task() -> Task:
    """S = 3, A = 2, H = 3: small enough for thousands of runs, and an optimist falls below 0.7 of the baseline."""
    return task(sparse_terminal(3, 2, 3, np.random.default_rng(2)))


@cache
def lock_task() -> Task:
    """The baseline always takes the room: only weight 1 - rho of an episode ever enters the lock."""
    mdp = entrance_lock(2)
    return Task(mdp, np.eye(2)[np.zeros(mdp.r.shape[:2], int)], 0.3)


@cache
def suite() -> dict[str, Task]:
    return {
        "sparse": sparse_task(),
        "lock": lock_task(),
        "cliff": task(cliff_edge(6)),
        "deep sea": task(staged(deep_sea(4, cost=0.0)), temperature=0.2),
        "river": task(staged(episodic_river_swim(6, 12)), pooled=True),
        "published": task(published_random(np.random.default_rng(0)), share=0.95),
    }
