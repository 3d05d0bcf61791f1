"""What file names say of a plate: names of instruments, patterns of users, and runs in a folder."""
