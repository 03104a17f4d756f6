"""Files that are copied into exports as they are; they run without samft."""
