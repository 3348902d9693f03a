"""Models on disk: bundles, whether their parts fit, whose tokens they speak, and where they come from."""
