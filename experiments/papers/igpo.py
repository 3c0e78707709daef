r"""Information Gain-based Policy Optimization (IGPO): turns are rewarded by what they add to the belief in the answer.

With a potential :math:`\Phi_t` of the belief after turn t, turns get :math:`r_t=\Phi_t-\Phi_{t-1}`, the last one the
outcome; rewards are normalised in the group and summed to the end of the dialogue (:math:`\gamma=1`).  Dialogues of
three turns are leaves of a tree with an arbitrary potential at each node, and gradients are enumerated.  Theorem A.4
joins an upper bound on one error with a lower bound on another and bounds the success of no policy; what it is read as
is refuted below.  Whether gains help a small model is a question of the study `igpo` (``claimlab lm run igpo``);
that all turns' gains can be computed in one pass with a block mask is not tested.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="igpo",
    title="Information Gain-based Policy Optimization: A Simple and Effective Approach for Multi-Turn LLM Agents",
    authors="Guoqing Wang, Sunhao Dai, Guangze Ye, Zeyu Gan, Wei Yao, Yong Deng, Xiaofeng Wu, Zhenzhe Ying",
    venue="ICLR 2026",
    arxiv="2510.14967",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "dialogues of three turns in a finite tree, softmax policy, potentials of any kind, held fixed"
PLAIN = r"$\gamma=1$, no normalisation"

LAWS = {"p1": Simplex("A"), "p2": Simplex("AB"), "p3": Simplex("ABC")}
FIELDS = LAWS | {"root": Box("", -1, 1), "phi1": Box("A", -1, 1), "phi2": Box("AB", -1, 1), "out": Box("ABC", 0, 1)}
SPACE = Space({"A": (1, 3), "B": (1, 3), "C": (1, 3)}, FIELDS)


def turn_rewards(answer: tuple[int, ...], root: Array, phi1: Array, phi2: Array, out: Array) -> list[float]:
    """Information gain of the first two turns and the outcome of the third."""
    a, b, c = answer
    return [float(phi1[a] - root), float(phi2[a, b] - phi1[a]), float(out[a, b, c])]


def _gradient(policy: list[Array], weight: dict[tuple[int, ...], list[float]]) -> list[Array]:
    """The expected policy gradient with a weight for each turn of each dialogue, in the logits of each node."""
    out = [np.zeros(p.shape) for p in policy]
    for answer, turns in weight.items():
        chance = float(np.prod([policy[d][answer[: d + 1]] for d in range(3)]))
        for d in range(3):
            score = np.eye(policy[d].shape[-1])[answer[d]] - policy[d][answer[:d]]
            out[d][answer[:d]] += chance * turns[d] * score
    return out


def _telescoping(
    p1: Array, p2: Array, p3: Array, root: Array, phi1: Array, phi2: Array, out: Array, *, gamma: float
) -> Trial:
    """IGPO's gradient against that of one terminal reward, last potential plus outcome."""
    policy, dense, terminal = [p1, p2, p3], {}, {}
    for answer in np.ndindex(out.shape):
        r = turn_rewards(answer, root, phi1, phi2, out)
        dense[answer] = [sum(gamma ** (k - d) * r[k] for k in range(d, 3)) for d in range(3)]
        terminal[answer] = [float(phi2[answer[:2]] + out[answer])] * 3
    first, second = _gradient(policy, dense), _gradient(policy, terminal)
    return Trial(float(max(abs(x - y).max() for x, y in zip(first, second))), 1024 * EPS)


def _telescoping_check(budget: Budget, gamma: float = 1.0) -> Identity:
    return equate(SPACE, partial(_telescoping, gamma=gamma), budget)


def _length_bonus(gains: Array, mean: Array, deviation: Array, *, count: int) -> Trial:
    """What normalising gains does to the return of each turn: it subtracts the mean once for each turn still to
    come."""
    T = len(gains)
    normalised = (gains - mean) / deviation
    returns = normalised[::-1].cumsum()[::-1]
    left = np.arange(T, 0, -1) + count
    stated = gains[::-1].cumsum()[::-1] / deviation - left * mean / deviation
    return Trial(float(abs(returns - stated).max()), float(64 * EPS * T * (2 + abs(mean)) / deviation))


def _length_bonus_check(budget: Budget, count: int = 0) -> Identity:
    fields = {"gains": Box("T"), "mean": Box("", -1, 1), "deviation": Box("", 0.1, 2)}
    return equate(Space({"T": (1, 8)}, fields), partial(_length_bonus, count=count), budget)


def _longer(extra: Array, mean: Array, deviation: Array) -> Trials:
    """The normalised return of a dialogue with more turns of no gain against that of the same without them."""
    return Trials(-extra * mean / deviation, 0.0, 64 * EPS * (1 + extra) / deviation)


def _longer_check(budget: Budget, low: float = -1.0) -> Inequality:
    fields = {"extra": Box("", 1, 5, step=1), "mean": Box("", low, 1), "deviation": Box("", 0.1, 2)}
    return attack(Space({}, fields), _longer, budget.with_instances(20 * budget.instances), batched=True)


def _drowned(gains: Array, out: Array, scale: Array, *, joint: bool) -> Trials:
    r"""The deviation that outcomes keep after normalisation, against what the gains' deviation leaves them.

    A joint variance is at least the share of the gains times theirs, so outcomes keep at most
    :math:`\frac{\sigma_{out}}{\sigma_{IG}}\sqrt{n/n_{IG}}`; normalised separately they keep one.
    """
    many = gains * scale[:, None]
    together = np.concatenate([many, out], axis=1)
    own, other = out.std(axis=1), many.std(axis=1)
    holds = (own > 1e-3) & (other > 1e-3)
    kept = own / np.where(holds, together.std(axis=1) if joint else own, 1.0)
    bound = own / np.where(holds, other, 1.0) * np.sqrt(together.shape[1] / many.shape[1])
    return Trials(kept, bound, 1e-9, holds=holds)


def _drowned_check(budget: Budget, joint: bool = True) -> Inequality:
    fields = {"gains": Box("N"), "out": Box("G", 0, 1), "scale": Box("", 1, 20)}
    space = Space({"N": (2, 8), "G": (2, 4)}, fields)
    return attack(space, partial(_drowned, joint=joint), budget.with_instances(20 * budget.instances), batched=True)


def _failing(gains: Array, reward: Array, *, informed: bool) -> Trial:
    """Whether a group whose outcomes are all equal has a signal, against whether its gains differ; in one turn each."""
    spread, outcomes = gains.std() > 1e-12, np.full(len(gains), float(reward))
    z = (gains - gains.mean()) / gains.std() if spread and informed else np.zeros(len(gains))
    return Trial(float((abs(z + (outcomes - outcomes.mean())).max() > 1e-9) != spread), 0.0)


def _failing_check(budget: Budget, informed: bool = True) -> Identity:
    space = Space({"G": (1, 5)}, {"gains": Box("G", -1, 1, step=0.5), "reward": Box("", 0, 1, step=1)})
    return equate(space, partial(_failing, informed=informed), budget)


def _error_bound(belief: Array, out: Array, *, sincere: bool) -> Trials:
    """The probability of a wrong answer against one less the total gain of a dialogue of T potentials.

    `sincere`: the answer is drawn from the belief itself, so the last potential is its chance to be right.
    """
    right = belief[:, -1] if sincere else out
    return Trials(1 - right, 1 - (belief[:, -1] - belief[:, 0]), 16 * EPS, trivial=1.0)


def _error_bound_check(budget: Budget, sincere: bool = False) -> Inequality:
    space = Space({"T": (2, 4)}, {"belief": Box("T", 0, 1), "out": Box("", 0, 1)})
    wrong = {"belief": np.array([0.0, 1.0]), "out": np.array(0.0)}
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_error_bound, sincere=sincere), many, batched=True, hard=[wrong])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.2))
    turns, rows = np.arange(1, 11), []
    for mean, label in ((-0.2, "mean gain −0.2"), (0.0, "mean gain 0"), (0.2, "mean gain 0.2")):
        y = -(turns - 1) * mean / 0.3
        left.plot(turns, y, marker="o", label=label)
        rows += [{"panel": "length", "series": label, "x": t, "y": v} for t, v in zip(turns, y)]
    left.set(xlabel="turns", ylabel="return from normalising alone", title="every gain is zero, deviation 0.3")
    left.legend()
    rng = np.random.default_rng(0)
    gammas = np.linspace(0.5, 1, 26)
    cases = [SPACE.draw(rng) for _ in range(40)]
    residual = np.array([[_telescoping(**case, gamma=float(g)).value for g in gammas] for case in cases])
    right.fill_between(gammas, *np.quantile(residual, (0.1, 0.9), axis=0), alpha=0.25, lw=0)
    right.plot(gammas, residual.mean(axis=0))
    right.set(
        xlabel="γ",
        ylabel="difference of the gradients",
        ylim=(0, None),
        title="turn rewards against one terminal reward",
    )
    rows += [{"panel": "gradients", "series": "mean", "x": g, "y": v} for g, v in zip(gammas, residual.mean(axis=0))]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "turns",
        r"Left: normalising turn rewards pays for, or punishes, mere length. Right: with $\gamma=1$, the paper's "
        r"value, the "
        r"expected gradient of turn rewards is exactly that of one terminal reward (mean and 10-90 % band of 40 "
        r"random trees).",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="igpo/telescoping",
        source="ours, on Eq. 4-6",
        statement=r"The expected gradient of IGPO is that of the single terminal reward $\Phi_{T-1}+r_T$: at "
        r"$\gamma=1$ turn rewards "
        r"are a dense terminal signal and a baseline.",
        kind=Identity,
        premises=(TREE, PLAIN),
        check=_telescoping_check,
        control=partial(_telescoping_check, gamma=0.9),
        control_statement=r"the same with $\gamma=0.9$.",
    ),
    claim(
        id="igpo/normalising-pays-for-length",
        source="ours, on Eq. 5 (normalisation in the group)",
        statement=r"Normalising the gains adds $-(T-t+1)\mu/\sigma$ to the return of turn $t$.",
        kind=Identity,
        premises=("mean $\\mu$ and deviation $\\sigma$ of the group, $\\gamma=1$",),
        check=_length_bonus_check,
        control=partial(_length_bonus_check, count=-1),
        control_statement=r"it adds $-(T-t)\mu/\sigma$.",
    ),
    claim(
        id="igpo/length-neutral",
        source="ours, on Eq. 5 (normalisation in the group)",
        statement="Turns without any gain never raise the normalised return of a dialogue.",
        kind=Inequality,
        premises=("$\\gamma=1$",),
        check=_longer_check,
        control=partial(_longer_check, low=0.0),
        control_statement=r"the same where the group's mean gain is not negative.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="igpo/joint-normalisation-drowns-outcomes",
        source="ours, on Section 3 (separate normalisation)",
        statement=r"Normalised jointly, outcomes keep a deviation of at most "
        r"$\frac{\sigma_{out}}{\sigma_{IG}}\sqrt{n/n_{IG}}$: wide log-probability gains drown them.",
        kind=Inequality,
        premises=("$n_{IG}$ gains among the $n$ rewards of a group",),
        check=_drowned_check,
        control=partial(_drowned_check, joint=False),
        control_statement="the same where they are normalised separately.",
    ),
    claim(
        id="igpo/signal-without-success",
        source="abstract (dense signal where all answers fail)",
        statement="A group with equal outcomes has a signal iff its gains differ.",
        kind=Identity,
        premises=("one turn of information each, separate normalisation",),
        check=_failing_check,
        control=partial(_failing_check, informed=False),
        control_statement="the same for outcomes alone.",
    ),
    claim(
        id="igpo/gain-bounds-the-error",
        source="Theorem A.4, as the bound on errors that it is read as",
        statement="The probability of a wrong answer is at most one less the total information gain.",
        kind=Inequality,
        premises=("potentials are probabilities of the right answer (version 1)", "any policy for the last turn"),
        check=_error_bound_check,
        control=partial(_error_bound_check, sincere=True),
        control_statement="the same where the answer is drawn from the belief.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="igpo/gain-bounds-the-error-of-sincere-answers",
        source="ours, corrects the last",
        statement="It is where the answer is drawn from the belief.",
        kind=Inequality,
        premises=("potentials are probabilities of the right answer (version 1)",),
        check=partial(_error_bound_check, sincere=True),
        control=_error_bound_check,
        control_statement="it is for any policy for the last turn.",
    ),
)
