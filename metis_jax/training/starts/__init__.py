"""What a run begins from: weights of bundles, tables of codecs, clusters of frames."""
