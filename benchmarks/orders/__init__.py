"""How good are the orders that each sampler finds, by what it trained for them?"""
