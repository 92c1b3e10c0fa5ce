"""What is done to a store while no daemon runs on it."""
