"""``python -m munchray`` is the ``munchray`` command."""

from munchray.cli.app import main

main()
