"""How data sets lie on disk: one file a layout, each able to say whether a folder is one."""
