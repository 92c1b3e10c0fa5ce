"""Who may do what.  Pure, but for users_file, which reads and writes the file, and passwords, which takes its time.

users_file  the file of users, read, and edited by one program at a time
users       users, their passwords' hashes and their rules, as the file has them
passwords   hashes of passwords
attempts    failed logins, which slow down the next ones
turns       addresses whose logins wait for a hash
needs       which rights a request needs
ranges      the parts of a range that a user may read
rights      what the rules of a user allow
quotas      how much may match the pattern of a rule
usage       how much of it there is
"""
