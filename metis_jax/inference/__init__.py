"""From waves and texts to waves: the class Metis, its engine, and what is planned before and joined after."""
