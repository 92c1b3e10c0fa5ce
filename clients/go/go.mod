module kvd

go 1.19
