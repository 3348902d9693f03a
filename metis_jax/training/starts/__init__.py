"""What a run begins from: weights of bundles and tables of codecs."""
