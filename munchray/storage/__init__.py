"""Storage of searches: a folder on disk or in a bucket, leases on it, and working folders."""
