"""Files that other tools read: one module a family of formats."""
