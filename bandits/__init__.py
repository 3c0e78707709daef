"""Multi-armed bandits: environments, algorithms, and the loop that plays one against the other."""

from claimlab.bandits.algorithms import UCB1, BetaThompson, Exp3
from claimlab.bandits.environments import Bernoulli
from claimlab.bandits.play import Algorithm, Environment, Record, play

__all__ = ["UCB1", "Algorithm", "Bernoulli", "BetaThompson", "Environment", "Exp3", "Record", "play"]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
