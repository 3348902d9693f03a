"""What is drawn from a corpus, in which order, and the batches it becomes."""
