"""Rules over time: what of the runs, models and traces is kept, and what goes."""
