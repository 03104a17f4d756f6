"""samft."""
