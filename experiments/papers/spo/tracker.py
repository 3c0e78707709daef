"""The value tracker (Eq. 4-7): its average, variance and window, and the measure of change that sets it."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.spo.common import BERNOULLI, claim, exactly
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space


def _ema(alpha: Array, beta: Array, rho: Array, r: Array, *, extra: int) -> Trial:
    """Eq. 5 against its form as an exponential moving average, Eq. 7, in rationals."""
    a, b, forget, reward = map(exactly, (alpha, beta, rho, r))
    v, n = a / (a + b), a + b + extra
    tracked = (forget * a + reward) / (forget * (a + b) + 1)
    return Trial(float(abs(v + (reward - v) / (forget * n + 1) - tracked)), 0.0)


def _ema_check(budget: Budget, extra: int = 0) -> Identity:
    fields = {"alpha": Box("", 0.1, 20), "beta": Box("", 0.1, 20), "rho": Box("", 0.5, 1), "r": Box("", 0, 1, step=1)}
    return equate(Space({}, fields), partial(_ema, extra=extra), budget, proof="rational")


def tracker(rewards: tuple[int, ...], rho: Fraction) -> Fraction:
    """The tracked value after `rewards`, from no counts at all."""
    a = b = Fraction(0)
    for r in rewards:
        a, b = rho * a + r, rho * b + 1 - r
    return a / (a + b)


def _tracker_variance(p: Array, rho: Array, n: Array, *, printed: bool) -> Trial:
    """The variance over all 2^n reward strings against ours; `printed` takes the limit for every n."""
    q, forget, length = exactly(p), exactly(rho), int(n)
    mean = square = Fraction(0)
    for rewards in product((0, 1), repeat=length):
        weight = q ** sum(rewards) * (1 - q) ** (length - sum(rewards))
        v = tracker(rewards, forget)
        mean, square = mean + weight * v, square + weight * v * v
    transient = 1 if printed else (1 + forget**length) / (1 - forget**length)
    stated = q * (1 - q) * (1 - forget) / (1 + forget) * transient
    return Trial(float(abs(square - mean * mean - stated) + abs(mean - q)), 0.0)


def _tracker_variance_check(budget: Budget, printed: bool = False) -> Identity:
    fields = {"p": Box("", 0, 1), "rho": Box("", 0.5, 0.96), "n": Box("", 1, 7, step=1)}
    measure = partial(_tracker_variance, printed=printed)
    return equate(Space({}, fields), measure, budget.with_instances(min(budget.instances, 200)), proof="rational")


# The size of the tracker, batches, priorities, the measure of change


def _size(rho: Array, start: Array, n: Array, *, limit: bool) -> Trial:
    """alpha + beta after n rewards against its closed form, or against its limit."""
    forget, total, length = exactly(rho), exactly(start), int(n)
    stated = 1 / (1 - forget) + (0 if limit else forget**length * (total - 1 / (1 - forget)))
    for _ in range(length):
        total = forget * total + 1
    return Trial(float(abs(total - stated)), 0.0)


def _size_check(budget: Budget, limit: bool = False) -> Identity:
    fields = {"rho": Box("", 0.5, 0.96), "start": Box("", 1, 20), "n": Box("", 0, 20, step=1)}
    return equate(Space({}, fields), partial(_size, limit=limit), budget, proof="rational")


def _change(old: Array, new: Array, at: Array, *, stored: bool) -> Trials:
    """KL(old, new) against |log new - log old| of one stored answer, or its mean over the old policy."""
    p, q = (0.98 * x + 0.02 / x.shape[1] for x in (old, new))
    gaps = np.log(p / q)
    one = abs(gaps)[np.arange(len(p)), np.minimum((at * p.shape[1]).astype(int), p.shape[1] - 1)]
    return Trials((p * gaps).sum(axis=1), one if stored else (p * abs(gaps)).sum(axis=1), 64 * EPS)


def _change_check(budget: Budget, stored: bool = True) -> Inequality:
    space = Space({"K": (2, 4)}, {"old": Simplex("K"), "new": Simplex("K"), "at": Box("", 0, 0.999)})
    moved = {"old": np.full(3, 1 / 3), "new": np.array([1 / 3, 2 / 3, 0.0]), "at": np.array(0.0)}
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_change, stored=stored), many, batched=True, hard=[moved])


def forgetting(D: float, half: float = 0.06) -> float:
    r""":math:`\rho=\mathrm{clip}(2^{-D/D_{half}},0.875,0.96)`."""
    return float(np.clip(2 ** (-D / half), 0.875, 0.96))


def _first_check(budget: Budget, D: float = 0.0) -> Inequality:
    """One instance: a prompt without a stored answer has D = 0; is its rho the smaller one, of the short window?"""
    rho = forgetting(D)
    return Inequality(rho / 0.875, rho - 0.875, 4 * EPS, 1, 1, 1, 1, {"D": D, "rho": rho})


CLAIMS = (
    claim(
        id="spo/tracker-is-an-average",
        source="Eq. 5 and 7, corrected",
        statement=r"The tracker is $\hat v\leftarrow\hat v+\eta(r-\hat v)$ with $\eta=1/(\rho N+1)$ and "
        r"$N=\alpha+\beta$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=_ema_check,
        control=partial(_ema_check, extra=1),
        control_statement=r"the same with $N=\alpha+\beta+1$.",
    ),
    claim(
        id="spo/tracker-as-printed",
        source="Eq. 7",
        statement=r"The tracker of Eq. 5 is $\hat v\leftarrow\hat v+\eta(r-\hat v)$ with $\eta=1/(\rho N_{eff}+1)$, "
        r"$N_{eff}=\alpha+\beta+1$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_ema_check, extra=1),
        control=_ema_check,
        control_statement=r"the same with $N_{eff}=\alpha+\beta$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/tracker-variance",
        source="ours, on Eq. 4-5",
        statement=r"After $n$ rewards of constant $p$, from no counts, the tracker has mean $p$ and variance "
        r"$p(1-p)\frac{1-\rho}{1+\rho}\cdot\frac{1+\rho^n}{1-\rho^n}$.",
        kind=Identity,
        premises=(BERNOULLI, r"constant $\rho$"),
        check=_tracker_variance_check,
        control=partial(_tracker_variance_check, printed=True),
        control_statement=r"the variance is its limit $p(1-p)(1-\rho)/(1+\rho)$ for every $n$.",
    ),
    claim(
        id="spo/tracker-size",
        source="ours, on Eq. 4-5",
        statement=r"After $n$ rewards $\alpha+\beta=\frac{1}{1-\rho}+\rho^n\bigl(N_0-\frac{1}{1-\rho}\bigr)$: the "
        r"window is $\frac1{1-\rho}$, 8 and 25 at the two ends.",
        kind=Identity,
        premises=(r"constant $\rho$, start $N_0$",),
        check=_size_check,
        control=partial(_size_check, limit=True),
        control_statement=r"it is $\frac1{1-\rho}$ for every $n$.",
    ),
    claim(
        id="spo/one-answer-measures-the-change",
        source="Eq. of $D(x)$, by the released code",
        statement=r"$KL(\pi_{old}\|\pi_\theta)\le D$ for the $D=|\log\pi_\theta-\log\pi_{old}|$ of one stored answer.",
        kind=Inequality,
        premises=("two to four answers of one token",),
        check=_change_check,
        control=partial(_change_check, stored=False),
        control_statement=r"the same for its mean over $\pi_{old}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/mean-change-bounds-the-divergence",
        source="ours, corrects the last",
        statement=r"$KL(\pi_{old}\|\pi_\theta)\le E_{\pi_{old}}|\log\pi_\theta-\log\pi_{old}|$.",
        kind=Inequality,
        premises=("two to four answers of one token",),
        check=partial(_change_check, stored=False),
        control=_change_check,
        control_statement="the same for one stored answer.",
    ),
    claim(
        id="spo/first-visit-forgets",
        source="Eq. of $\\rho(x)$ with the released first visit, $D=0$",
        statement=r"A prompt that was never visited gets $\rho_{min}=0.875$, the shortest window.",
        kind=Inequality,
        premises=(r"$\rho=\mathrm{clip}(2^{-D/0.06},0.875,0.96)$",),
        check=_first_check,
        control=partial(_first_check, D=1.0),
        control_statement="the same at $D=1$.",
        expected=Outcome.REFUTED,
    ),
)
