"""A Ray cluster: joining it, what its nodes have and see, work submitted to it."""
