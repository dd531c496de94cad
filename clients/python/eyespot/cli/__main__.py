"""`python -m eyespot.cli`: the same as `eyespot`."""

import sys

from eyespot.cli.main import main

sys.exit(main())
