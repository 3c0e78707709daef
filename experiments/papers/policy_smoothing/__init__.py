from claimlab.experiments.papers.policy_smoothing.lemma import CLAIMS
