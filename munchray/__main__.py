"""``python -m munchray`` is the ``munchray`` command."""

from munchray.cli import main

main()
