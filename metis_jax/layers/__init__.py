"""Small Linen modules that models are made of."""
