"""Days of simulated traffic, a real access log, and what policies would have done to them."""
