"""Programs that run in the rippers' own environment, not in ours."""
