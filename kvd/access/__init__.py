"""Who may do what.  Pure, but for users_file, which reads and writes the file, and passwords, which takes its time.

users_file  the file of users, read, and edited by one program at a time
users       users, their passwords' hashes and their rules, as the file has them
passwords   hashes of passwords
rights      what the rules of a user allow
"""
