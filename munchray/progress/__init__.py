"""What is shown while work is under way: in a terminal, in a notebook, or nothing."""

from munchray.progress.base import Progress as Progress
from munchray.progress.base import default_progress as default_progress
