"""What is wrong with a data set: every problem, each with its fix."""
