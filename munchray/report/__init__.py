"""What a search's finished trials say about orders: estimates with intervals, and figures."""
