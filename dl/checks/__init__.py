"""Checks of the exercises. `expected/` holds the course's expected tensors, one JSON file a topic."""
