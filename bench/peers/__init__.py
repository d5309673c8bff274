"""What the agent is compared with; each module is one process."""
