"""What every method's loop needs: batches, seeds, devices, checkpoints, logs, supervised fits."""
