"""The ``munchray`` command: parses arguments, calls the API, prints. (typer)"""
