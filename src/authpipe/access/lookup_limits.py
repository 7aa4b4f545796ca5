"""How many unknown API keys may be looked up: what stands between a flood of them and the database."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network

from authpipe.domain.clock import Clock
from authpipe.telemetry.logs import get_logger

#: Addresses remembered.  One that was forgotten begins anew, and is still held by the limit of the process.
_ADDRESSES = 10_000
#: An IPv6 host chooses freely among the addresses of its network (RFC 4291 section 2.5.4), and whoever has a
#: site among 65536 networks (RFC 6177).
_NETWORK_BITS, _SITE_BITS = 64, 48

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """``burst`` fruitless lookups at once, then ``per_second``."""

    burst: int
    per_second: float


#: A backend with a wrong key asks once in ten seconds, which is how long a refusal is remembered.
PER_ADDRESS = Allowance(burst=20, per_second=1.0)
#: Some hosts give each of their customers one network of the same site.
PER_SITE = Allowance(burst=100, per_second=5.0)
#: What the database does beside its work.  Who comes in a flood waits, since nobody can tell the good keys in
#: it: after a restart no key is known.
PER_PROCESS = Allowance(burst=500, per_second=500.0)


class LookupLimits:
    """Token buckets: one for each source address, one for each IPv6 site, and one for the process.

    They are charged for lookups that found no good key, so those who have one never pay.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        per_address: Allowance = PER_ADDRESS,
        per_site: Allowance = PER_SITE,
        per_process: Allowance = PER_PROCESS,
        addresses: int = _ADDRESSES,
    ) -> None:
        self._clock = clock
        self._allowances = per_address, per_site
        self._size = addresses
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._process = _Bucket(per_process, clock.now())

    def wait_s(self, source: str | None) -> float:
        """Seconds until this address has a lookup left; 0 when it has one now."""
        now = self._clock.now()
        buckets = (self._addresses.get(place) for place in _places(source))
        return max(0.0 if bucket is None else bucket.wait_s(now) for bucket in buckets)

    def process_wait_s(self) -> float:
        """Seconds until the process should look up another unknown key, wherever from; 0 for now."""
        return self._process.wait_s(self._clock.now())

    def charge(self, source: str | None) -> None:
        """A lookup for this address found no good key."""
        now = self._clock.now()
        self._process.take(now)
        for place, allowance in zip(_places(source), self._allowances, strict=False):
            bucket = self._addresses.get(place)
            if bucket is None:
                bucket = self._addresses[place] = _Bucket(allowance, now)
                if len(self._addresses) > self._size:
                    self._addresses.popitem(last=False)
            self._addresses.move_to_end(place)
            bucket.take(now)
            if bucket.wait_s(now) > 0:
                _log.warning("unknown API keys are not looked up for a while", source_address=place)


class _Bucket:
    def __init__(self, allowance: Allowance, now: datetime) -> None:
        self._allowance = allowance
        self._tokens = float(allowance.burst)
        self._at = now

    def wait_s(self, now: datetime) -> float:
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._allowance.per_second)

    def take(self, now: datetime) -> None:
        # Lookups that were let in together may together go below nothing; the wait is longer then.
        self._fill(now)
        self._tokens -= 1.0

    def _fill(self, now: datetime) -> None:
        # A clock that was set back must not empty the bucket.
        elapsed = max(0.0, (now - self._at).total_seconds())
        self._tokens = min(float(self._allowance.burst), self._tokens + elapsed * self._allowance.per_second)
        self._at = now


def _places(source: str | None) -> tuple[str, ...]:
    """What one caller can send from: an IPv4 address; an IPv6 network of 64 bits, and its site of 48.

    Callers whose address is not known, as on a Unix socket, share one place.
    """
    try:
        address = ip_address((source or "").partition("%")[0])
    except ValueError:
        return ("unknown",)
    if not isinstance(address, IPv6Address):
        return (str(address),)
    if address.ipv4_mapped is not None:
        return (str(address.ipv4_mapped),)
    return tuple(
        str(ip_network((address.packed, bits), strict=False)) for bits in (_NETWORK_BITS, _SITE_BITS)
    )
