"""What recordings go through: noise and rooms, other voices, mixtures."""
