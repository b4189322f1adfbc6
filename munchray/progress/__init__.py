"""What is shown while work is under way: in a terminal, in a notebook, or nothing."""

from munchray.progress.base import Progress as Progress
