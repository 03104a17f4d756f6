"""`samft zeroshot`: options, data, models, one task per protocol, results."""
