// Penstock: the root of the command line.
