"""The one type that holds a plaintext secret in memory."""

from __future__ import annotations

import hmac
from typing import NoReturn, final

_MASK = "Secret(***)"


@final
class Secret:
    """A plaintext secret that refuses every accidental way out of the process.

    It has no useful ``repr`` or ``str``, cannot be formatted, serialised to JSON, pickled, copied or hashed,
    and compares in constant time.  The only way to the text is :meth:`reveal`, a name that is easy to search
    for and that belongs next to the wire or the cipher, nowhere else.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Raises ``ValueError``, without the text, when UTF-8 cannot encode it."""
        if not isinstance(value, str):
            raise TypeError("a Secret holds text; decode the bytes first")
        if not _is_encodable(value):
            raise ValueError("a Secret holds text that UTF-8 can encode")
        self._value = value

    @classmethod
    def from_bytes(cls, value: bytes) -> Secret:
        """Read UTF-8 bytes.  A failure to decode is reported without the bytes."""
        try:
            return cls(value.decode("utf-8"))
        except UnicodeDecodeError:
            pass
        # Raised out here, so that it has no context: a UnicodeDecodeError carries the bytes it failed on.
        raise ValueError("the secret is not UTF-8 text")

    def reveal(self) -> str:
        """The plaintext.  Call it at the edge (cipher, header, response body) and let it go at once."""
        return self._value

    def reveal_bytes(self) -> bytes:
        """The plaintext as UTF-8 bytes, under the same rule as :meth:`reveal`."""
        return self._value.encode("utf-8")

    def masked(self) -> str:
        """At most the first four characters, and never more than a quarter of the secret."""
        shown = min(4, len(self._value) // 4)
        return self._value[:shown] + "\N{BULLET}" * 4

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _MASK

    def __str__(self) -> str:
        return _MASK

    def __format__(self, format_spec: str) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

    def __copy__(self) -> NoReturn:
        raise TypeError("a Secret cannot be copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a Secret cannot be copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret cannot be serialised")


def _is_encodable(value: str) -> bool:
    """Whether there is no lone surrogate in it, as JSON can smuggle in.

    Encoding one later would raise a ``UnicodeEncodeError``, whose ``repr`` shows the whole text.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
