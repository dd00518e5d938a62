"""Training: batches, augmentation, optimizers, checkpoints and the loop."""
