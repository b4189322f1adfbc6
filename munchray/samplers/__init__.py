"""How orders and parameters are chosen: Optuna samplers that know what an order is, also of use without Ray."""
