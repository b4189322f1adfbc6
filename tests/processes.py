"""What tests need to start the command as a terminal would."""

import signal


def heed_ctrl_c():
    """Run in a child before it starts: pytest's workers ignore Ctrl-C, and a child would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
