"""What happens around the training loop: rows, grids, judgements, checkpoints, and stopping well."""
