"""SSH's data types (RFC 4251, section 5): strings and numbers."""


def string(data: bytes) -> bytes:
    """A string: its length as a uint32, then its bytes."""
    return len(data).to_bytes(4, "big") + data


class Reader:
    """Reads the strings and numbers in `data`, in order; ValueError if it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def uint32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def uint64(self) -> int:
        return int.from_bytes(self._take(8), "big")

    def string(self) -> bytes:
        return self._take(self.uint32())

    @property
    def is_at_end(self) -> bool:
        """Whether everything has been read."""
        return self._position == len(self._data)

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise ValueError("too short")
        taken = self._data[self._position : end]
        self._position = end
        return taken
