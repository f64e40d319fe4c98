"""From alerts to acknowledgement: the outbox on disk, its worker, and the publisher.

An alert that was committed here is not lost, whatever the broker or the power does. Nothing here decides whether an
alert is raised.
"""
