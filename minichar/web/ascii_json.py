"""JSON responses in ASCII, which may repeat any string of a client."""

import json
from typing import Any

from starlette.responses import JSONResponse


class AsciiJSONResponse(JSONResponse):
    """JSON response whose strings may contain lone surrogates, which JSON allows but UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
