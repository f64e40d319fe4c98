"""The commands of ``python -m training``, one a file: ``add`` declares one, ``run`` does it.

Nothing heavy is imported before a command runs: TensorFlow alone takes seconds.
"""
