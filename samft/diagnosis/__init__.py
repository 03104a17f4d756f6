"""What `samft doctor` looks at: packages, machine, devices, storage, and whether training works."""
