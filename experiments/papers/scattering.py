r"""A mathematical theory of deep convolutional feature extraction: stability and translation invariance layer by layer.

Layer n maps f to :math:`S_n^{1/2}P_n(M_n(f*g_\lambda))(S_n\cdot)` for each filter :math:`g_\lambda` of a frame, with a
nonlinearity :math:`M_n` and a pooling :math:`P_n`; the features of depth n are the last outputs convolved with
:math:`\chi_n`.  Signals are periodic, of length 1, on N points.  Pooling by S keeps all samples and divides their
spacing by S, so that frequencies grow by S, as in the continuous setting; nothing is aliased, and all of it is exact.

Filters: :math:`|\hat\chi|^2+\sum|\hat g_\lambda|^2=1`, split at two frequencies.  With ReLU, modulus or tanh, and
averaging over neighbours, all Lipschitz constants are 1 and the frame is admissible.  Deformations, whose constant the
theorems do not give, are not judged.
"""

from __future__ import annotations

from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Case, Space

PAPER = Paper(
    slug="scattering",
    title="A Mathematical Theory of Deep Convolutional Neural Networks for Feature Extraction",
    authors="Thomas Wiatowski, Helmut Bölcskei",
    venue="IEEE Transactions on Information Theory, 2018",
    arxiv="1512.06293",
    tier="theory-checkable",
)

claim = partial(Claim, paper=PAPER)

POINTS, DEPTH = 64, 3
NETWORK = (
    f"periodic signals on {POINTS} points, {DEPTH} depths of five filters, modulus, ReLU or tanh, "
    "averaging of three neighbours"
)
NONLINEARITIES = (np.abs, lambda x: np.maximum(x.real, 0) + 0j, lambda x: np.tanh(x.real) + 1j * np.tanh(x.imag))
FREQUENCIES: Array = np.asarray(np.fft.fftfreq(POINTS, 1 / POINTS), float)
EDGES = (10.0, 20.0)  # the frequencies, in cycles, by which the low and the middle filters have died out

SPACE = Space(
    {"N": (POINTS, POINTS)},
    {
        "f": Box("N", -1, 1), "h": Box("N", -1, 1), "S": Box("", 1, 4), "kind": Box("", 0, 2, step=1),
        "shift": Box("", 1, POINTS - 1, step=1),
    },
)  # fmt: skip


def frame(frequency: Array) -> tuple[Array, Array]:
    """The output filter and the others at the given frequencies, float[N] and float[4, N]: squares sum to 1."""
    first, second = (np.pi / 2 * np.clip(abs(frequency) / edge, 0, 1) for edge in EDGES)
    low, middle, high = np.cos(first), np.sin(first) * np.cos(second), np.sin(first) * np.sin(second)
    sides = np.where(frequency > 0, 1.0, 0.0), np.where(frequency < 0, 1.0, 0.0)
    return low, np.array([part * side for part in (middle, high) for side in sides])


def features(f: Array, S: float, kind: int, gain: float = 1.0) -> list[Array]:
    """The features of each depth, complex[4^n, N], times the root of their spacing: plain norms are those of L2."""
    outputs, signals, scale = [], np.asarray(f)[None].astype(complex), 1.0
    for _ in range(DEPTH):
        low, others = frame(FREQUENCIES * scale)
        spectrum = np.fft.fft(signals)
        outputs.append(gain * np.fft.ifft(spectrum * low) / np.sqrt(POINTS))
        signals = np.fft.ifft(gain * spectrum[:, None] * others).reshape(-1, POINTS)
        signals = NONLINEARITIES[kind](signals)
        signals = (np.roll(signals, 1, axis=1) + signals + np.roll(signals, -1, axis=1)) / 3
        scale *= S
    return outputs


def distance(x: list[Array], y: list[Array]) -> float:
    """The norm of the difference over all depths."""
    return float(np.sqrt(sum((abs(a - b) ** 2).sum() for a, b in zip(x, y))))


def _norm(f: Array) -> float:
    return float(np.sqrt((abs(f) ** 2).sum() / POINTS))


def _stable(f: Array, h: Array, S: Array, kind: Array, shift: Array, *, gain: float) -> Trial:
    found = distance(features(f, float(S), int(kind), gain), features(h, float(S), int(kind), gain))
    return Trial(found, _norm(f - h), 4096 * EPS)


LOW: Case = {
    "f": np.ones(POINTS), "h": np.zeros(POINTS), "S": np.array(2.0), "kind": np.array(0.0), "shift": np.array(1.0),
}  # fmt: skip


def _stable_check(budget: Budget, gain: float = 1.0) -> Inequality:
    return attack(SPACE, partial(_stable, gain=gain), budget, hard=[LOW])


def _covariant(f: Array, h: Array, S: Array, kind: Array, shift: Array, *, scaled: bool) -> Trial:
    r"""Features of a translate against translated features; on samples that lie S_1 ... S_n times closer."""
    t, moved = int(shift), features(np.roll(f, int(shift)), float(S), int(kind))
    still, worst = features(f, float(S), int(kind)), 0.0
    for depth in range(DEPTH):
        by = t if scaled else round(t * float(S) ** depth)  # in samples; unscaled, the translation itself
        worst = max(worst, float(abs(moved[depth] - np.roll(still[depth], by, axis=1)).max()))
    return Trial(worst, 4096 * EPS)


def _covariant_check(budget: Budget, scaled: bool = True) -> Identity:
    return equate(SPACE, partial(_covariant, scaled=scaled), budget)


@cache
def steepness() -> float:
    r"""K, the supremum of :math:`|\hat\chi(\omega)||\omega|`, from above: over a fine grid, and its spacing more."""
    grid, step = np.linspace(0, EDGES[0], 100_001, retstep=True)
    return float((frame(grid)[0] * grid).max() + 2 * step)  # the slope is at most 1 + pi/2


def _invariant(f: Array, h: Array, S: Array, kind: Array, shift: Array, *, share: float, deeper: bool) -> Trial:
    r"""The largest ratio over depths of the change by a shift to :math:`2\pi|t|K\|f\|/(S_1\dots S_n)`."""
    moved, still = (features(x, float(S), int(kind)) for x in (np.roll(f, int(shift)), f))
    t, size, worst = min(int(shift), POINTS - int(shift)) / POINTS, _norm(f), 0.0
    for depth in range(DEPTH):
        bound = 2 * np.pi * t * steepness() * size / float(S) ** (depth + deeper)
        worst = max(worst, distance([moved[depth]], [still[depth]]) / bound if bound > 0 else 0.0)
    return Trial(worst, share, 1e-9)


WAVE: Case = LOW | {"f": np.cos(2 * np.pi * 5 * np.arange(POINTS) / POINTS)}  # five cycles: |χ||ω| is nearly largest


def _invariant_check(budget: Budget, share: float = 1.0, deeper: bool = False) -> Inequality:
    return attack(SPACE, partial(_invariant, share=share, deeper=deeper), budget, hard=[WAVE])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), []
    ax, rng = fig.subplots(), np.random.default_rng(0)
    signals = rng.normal(size=(50, POINTS))
    for S, marker in ((1.0, "o"), (1.5, "s"), (2.0, "^")):
        changes = []
        for f in signals:
            still, moved = features(f, S, 0), features(np.roll(f, 8), S, 0)
            changes.append([distance([a], [b]) / distance([b], [0 * b]) for a, b in zip(moved, still)])
        means = np.mean(changes, axis=0)
        ax.plot(range(DEPTH), means, marker + "-", ms=4, label=f"pooling by {S:g}")
        rows += [{"pooling": S, "depth": n, "change": x} for n, x in enumerate(means)]
    ax.set(xlabel="depth", ylabel="relative change by a shift", xticks=range(DEPTH), ylim=(0, None))
    ax.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "vertical",
        "Relative change of the features of each depth when a random signal is shifted by an eighth of its length: it "
        "is pooling that makes deeper features invariant.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="scattering/stable",
        source="the extractor's Lipschitz property under the admissibility condition",
        statement=r"$|||\Phi(f)-\Phi(h)|||\le\|f-h\|_2$.",
        kind=Inequality,
        premises=(NETWORK,),
        check=_stable_check,
        control=partial(_stable_check, gain=1.1),
        control_statement="the same with filters ten per cent too large, which are not admissible.",
    ),
    claim(
        id="scattering/covariant",
        source="Theorem 1 (vertical translation invariance), first part",
        statement=r"$\Phi^n(T_tf)=T_{t/(S_1\cdots S_n)}\Phi^n(f)$.",
        kind=Identity,
        premises=(NETWORK, "shifts by samples"),
        check=_covariant_check,
        control=partial(_covariant_check, scaled=False),
        control_statement=r"$\Phi^n(T_tf)=T_t\Phi^n(f)$.",
    ),
    claim(
        id="scattering/vertically-invariant",
        source="Theorem 1 (vertical translation invariance), second part",
        statement=r"If $|\hat\chi_n(\omega)||\omega|\le K$, then $|||\Phi^n(T_tf)-\Phi^n(f)|||\le"
        r"2\pi|t|K\|f\|_2/(S_1\cdots S_n)$.",
        kind=Inequality,
        premises=(NETWORK, "as ratio to the bound, over all depths"),
        check=_invariant_check,
        control=partial(_invariant_check, deeper=True),
        control_statement=r"the same with one more factor $S$.",
    ),
)
