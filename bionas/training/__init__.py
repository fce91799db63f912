"""Training: batches on the device, the loop, its optimiser, and what trades bits for speed."""
