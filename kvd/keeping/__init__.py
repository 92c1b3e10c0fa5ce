"""What is done to a store while no daemon runs on it.

commands  the words after `kvd` that are no options, and their pages
check     whether the data of a directory are whole
restore   a new data directory from a backup
"""
