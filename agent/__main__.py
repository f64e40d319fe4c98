"""``python -m agent``: the same as the command ``edgewatch``."""

import sys

from agent.cli.main import main

sys.exit(main())
