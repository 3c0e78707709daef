r"""What :func:`claimlab.mdps.krylov_policy_iteration` adds to the values of a sweep, and when.

The correction :math:`(I - \gamma P_\pi)^{-1}(Tv - v)` is solved for loosely, since the policy will change, on several
scales where actions share their successors, else by BiCGSTAB, or directly where the matrix is narrow or rows are long.
"""

from __future__ import annotations

import numpy as np

from claimlab.checks import Array
from claimlab.mdps.multilevel import LOOSE, Multilevel
from claimlab.mdps.resolvent import solver
from claimlab.mdps.sweeps import Sweeps
from claimlab.mdps.tabular import EPS, TabularMDP

FINE = 1e-6  # of a residual may be left at least, where residuals do not fall: near gamma = 1 little is left of much
FRUITLESS = 20  # corrections without a smaller residual, after which policies are evaluated directly
CHAIN = 8  # bandwidth up to which factors cost no more than a sweep or two
KRYLOV = 1000  # products with the policy's matrix for one correction
EARLY = 50  # for the first one, whose policy is little worth; more with the square of the iterations
TRIES = 3  # corrections on several scales that may fail, before they are given up
FALLING = 0.9  # of the residual at most is left by sweeps that go on without a correction


class Pace:
    """When to correct, and how finely, as told by the residuals so far.

    Where actions are tied, as far from every reward, the greedy policy follows what is left of earlier errors into
    loops of its own, each of which has another error: corrections then never end.  Sweeps make such values even.  So
    after two corrections without a smaller residual sweeps go on alone for as long as that helps, and the next
    correction is ten times as fine.
    """

    def __init__(self) -> None:
        self.loose, self.fruitless, self.resting = LOOSE, 0, False
        self.least, self.last = np.inf, np.inf

    def rests(self, size: float, first: bool) -> bool:
        """Whether sweeps go on without a correction, at a residual of `size`."""
        falls, self.last = size <= FALLING * self.last, size
        if self.resting:
            self.resting = falls
        else:
            self.fruitless = 0 if size < self.least else self.fruitless + 1
            self.loose = LOOSE if self.fruitless <= 1 else max(self.loose / 10, FINE)
            self.resting = self.fruitless > 1
        self.least = np.inf if first else min(self.least, size)  # the first correction may carry values far
        return self.resting


class Corrections:
    """Corrections for the greedy policies of `sweeps`, as fine as values within `tol` need them."""

    def __init__(self, mdp: TabularMDP, sweeps: Sweeps, tol: float) -> None:
        self.mdp, self.sweeps = mdp, sweeps
        self.direct = not sweeps.fixed_width or sweeps.bandwidth <= CHAIN
        self.enough = 0.3 * tol * (1 - mdp.gamma) / max(mdp.gamma, EPS)
        self.levels = Multilevel(*sweeps.union, mdp.gamma) if sweeps.union and not self.direct else None
        self.failures = 0

    def start(self, out: Array) -> bool:
        """Fill `out` with first values, if groups of states give any."""
        return self.levels is not None and self.levels.start(self.sweeps.r, out)

    def add(self, v: Array, tv: Array, spare: Array, pace: Pace, iteration: int) -> tuple[Array, Array, Array]:
        """The corrected values of a sweep from `v` to `tv`, float[S], in one of the arrays given; and the others."""
        size, d = pace.last, np.subtract(tv, v, out=v)
        tol = max(pace.loose * size, self.enough)
        self.direct = self.direct or pace.fruitless > FRUITLESS
        if self.direct:
            tv += solver(self.mdp, self.mdp.under(self.sweeps.greedy.policy)[0])(d) - d
            return tv, spare, d
        if self.levels is not None:
            self.levels.follow(self.sweeps.greedy.policy)
            if self.levels.solve(d, spare, tol) <= size / 2:
                spare -= d
                tv += spare
                return tv, spare, d
            self.failures += 1  # the policy parts what is grouped together; another may not
            self.levels = self.levels if self.failures < TRIES else None
        tv -= d
        tv += self.sweeps.correction(d, tol, min(EARLY * iteration**2, KRYLOV))
        return tv, spare, d
