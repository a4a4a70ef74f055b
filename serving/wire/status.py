"""The status a request or a load ends with."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    import tensorflow as tf

Code = grpc.StatusCode

MAX_MESSAGE_LENGTH = 1024
_BY_NUMBER = {code.value[0]: code for code in Code}


class StatusError(Exception):
    """A canonical code and a message, as TensorFlow Serving would answer."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def from_tensorflow(cls, error: tf.errors.OpError, code: grpc.StatusCode | None = None) -> StatusError:
        """The runtime's own words: the session's Python wrapper adds a traceback of the exporting program to them.

        Args:
          code: in place of the error's own.
        """
        original: Any = error.__context__
        source = original if type(original) is type(error) else error
        return cls(code or _BY_NUMBER.get(error.error_code, Code.UNKNOWN), source.message)

    @property
    def told(self) -> StatusError:
        """The same without traceback and cause: who keeps an error in the function that caught it keeps the request."""
        return StatusError(self.code, self.message)

    def __str__(self) -> str:
        """As absl::Status::ToString."""
        return f"{self.code.name}: {self.message}"

    @property
    def wire_message(self) -> str:
        """The message as it is sent: cut as the real server cuts it."""
        start = self.message[: MAX_MESSAGE_LENGTH + 1]  # of megabytes that somebody sent no more is looked at
        encoded = start.encode(errors="replace")
        if len(encoded) <= MAX_MESSAGE_LENGTH:
            return encoded.decode()
        return encoded[:MAX_MESSAGE_LENGTH].decode(errors="ignore") + "...TRUNCATED"


def hidden(log: logging.Logger, what: str, error: Exception) -> StatusError:
    """The answer to a fault no one foresaw; the log has its kind and place, and neither has words of the request."""
    places = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed with %s at\n%s", what, type(error).__name__, places)
    return StatusError(Code.INTERNAL, f"the server failed with {type(error).__name__}")
