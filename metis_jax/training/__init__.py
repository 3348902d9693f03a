"""State, optimizer, steps, loop, checkpoints."""
