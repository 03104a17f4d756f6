"""What a training step needs before it is taken: memory, batch size, and what would save most."""
