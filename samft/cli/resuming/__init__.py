"""`samft resume`: going on with a run as if it had never stopped."""
