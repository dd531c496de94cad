"""The `eyespot` command, silent about answers that nobody waits for any more.

Where a caller's deadline ends while its answer is being sent, gRPC's server writes an error with
its trace. Under overload that is what is measured, and no fault to be told of.
"""

import logging
import sys

from eyespot.cli.main import main

logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
sys.exit(main())
