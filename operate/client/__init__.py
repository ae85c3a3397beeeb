"""Questions to a served model, as plain Python: embeddings, perplexity, mutation scans.

    client = AmplifyClient("amplify-local")
    client.embed(["MKTAYIAKQR", "MLEGKVKWF"])      # float32 [2, hidden size]

Wherever InvokeEndpoint can be called: a notebook, a service, the `amplify` command. Any number of proteins are one
call: what is too much for one request is cut, some requests are under way at once, and a full queue is waited for. The
endpoint's errors arrive as exceptions that carry its own code, message and place.
"""

from .client import AmplifyClient
from .errors import BusyError, EndpointError, FailedError, RefusedError
from .outputs import MaskedPositions, Scan
from .proteins import Protein
from .ways import Queue

__all__ = [
    "AmplifyClient",
    "BusyError",
    "EndpointError",
    "FailedError",
    "MaskedPositions",
    "Protein",
    "Queue",
    "RefusedError",
    "Scan",
]
