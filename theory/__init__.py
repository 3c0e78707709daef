"""Claims, evidence, falsification, and the mathematics that several papers share."""

from claimlab.theory.claims import BUDGETS, FULL, SMOKE, STANDARD, Budget, Claim, Paper
from claimlab.theory.evidence import (
    Comparison,
    Evidence,
    Identity,
    Inequality,
    Outcome,
    Probability,
    Rate,
    Verdict,
    comparison,
    judge,
    probability,
    rate,
)
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

__all__ = [
    "BUDGETS",
    "FULL",
    "SMOKE",
    "STANDARD",
    "Box",
    "Budget",
    "Claim",
    "Comparison",
    "Evidence",
    "Identity",
    "Inequality",
    "Outcome",
    "Paper",
    "Probability",
    "Rate",
    "Simplex",
    "Space",
    "Trial",
    "Trials",
    "Verdict",
    "attack",
    "comparison",
    "equate",
    "judge",
    "probability",
    "rate",
]

assert __name__ == "claimlab.theory", "write `import claimlab.theory`: `theory` alone would load a second copy"
