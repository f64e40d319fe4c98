"""Commands of ``python -m training``, one per module: ``add`` declares the command, ``run`` executes it.

Heavy libraries are imported only when a command runs; TensorFlow alone takes seconds.
"""
