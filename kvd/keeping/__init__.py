"""What is done to a store while no daemon runs on it.

commands  the words after `kvd` that are no options, and their pages
restore   a new data directory from a backup
"""
