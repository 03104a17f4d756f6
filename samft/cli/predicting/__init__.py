"""The parts of `samft predict`."""
