"""Kernels for long contexts. Each stands in one file with its plain definition, its cost and its contract."""
