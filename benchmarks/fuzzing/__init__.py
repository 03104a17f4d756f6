"""Readers fed with damaged and hostile files, guided by what code they reach."""
