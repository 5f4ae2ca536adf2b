"""What to measure next: which incident energy or window, for how long, and what is expected of it."""
