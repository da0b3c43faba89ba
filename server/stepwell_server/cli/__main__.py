"""`python -m stepwell_server.cli`."""

import sys

from stepwell_server.cli.root import main

sys.exit(main())
