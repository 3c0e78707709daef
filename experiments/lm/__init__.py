"""Training language models: surrogates of log-probabilities, in torch (the extra `lm`)."""
