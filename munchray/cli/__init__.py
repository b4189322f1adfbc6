"""The ``munchray`` command: parse, call, explain. (typer)"""
