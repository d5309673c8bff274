"""The benchmark: the agent and its peers on the same model, one machine, one broker (see README.md)."""
