"""The library of an HSM as this process shares it: one thread, one login for each token."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret

if TYPE_CHECKING:
    import pkcs11

T = TypeVar("T")

#: A token's attributes and what each must be, as in the URI.
TokenPlace = tuple[tuple[str, str], ...]


class _Login(NamedTuple):
    session: pkcs11.Session
    pin: Secret


@final
class Module:
    """A PKCS#11 library with everything that is one per process in it.

    Initialisation and logins belong to the whole process (PKCS #11 base specification 3.1, sections 5.4 and
    5.6), and python-pkcs11 initialises for calls from one thread.  So the KEKs of one library share this
    object, all calls are made in its thread, and a token is logged in to once.  :meth:`lend` finds the
    object of this very process: after a fork, the child gets one that initialises anew.

    ``generation`` grows when sessions and handles got before are no longer good.
    """

    def __init__(self, path: Path, *, inherited: bool) -> None:
        self.path = path
        self.pid = os.getpid()
        self.generation = 0
        self.users = 0
        self._inherited = inherited
        self._library: Any = None
        self._logins: dict[TokenPlace, _Login] = {}
        self._refused: set[TokenPlace] = set()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        # A daemon, so that a device that never answers does not keep the process from ending.
        threading.Thread(target=self._run, name=f"pkcs11-{path.name}", daemon=True).start()

    @staticmethod
    def lend(path: Path) -> Module:
        """The module of that library in this process, for one more user, who gives it back."""
        return _modules.lend(path)

    def give_back(self) -> None:
        """One user less; the last one logs out of every token and ends the thread, without waiting."""
        if _modules.give_back(self):
            self.submit(self._log_out)
            self._calls.put(None)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Make a call in the module's thread, after those that wait already."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def session(self, place: TokenPlace, pin: Secret) -> pkcs11.Session:
        """A session, logged in, on the one token at ``place``.  Only in the module's thread.

        A PIN that was refused is not tried again by this process: a token locks itself after a few.
        Raises what PKCS#11 raises (``NoSuchToken`` also while the token is away), and ``ConfigurationError``
        where the operator has to act.
        """
        import pkcs11

        library = self._load()
        token = self._find(library, place)
        key: TokenPlace = (("serial", _text(token.serial)), ("token", token.label))
        login = self._logins.get(key)
        if login is not None:
            if login.pin != pin:
                raise ConfigurationError(f"two KEKs of the token {token.label} have different PINs")
            return login.session
        if key in self._refused:
            raise ConfigurationError(
                f"the PIN of the token {token.label} was refused before and is not tried again; "
                "correct it and start anew"
            )
        try:
            session = token.open(user_pin=pin.reveal())
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
            refusal = f"the token {token.label} refuses the PIN; correct it before the token locks itself"
        except pkcs11.PinLocked:
            refusal = f"the token {token.label} has locked its PIN; its security officer must set a new one"
        else:
            self._logins[key] = _Login(session, pin)
            return session
        self._refused.add(key)
        raise ConfigurationError(refusal)

    def restart(self) -> None:
        """Initialise the library anew; every session of this process with it ends."""
        import pkcs11

        self.generation += 1
        self._logins.clear()
        if self._library is not None:
            with contextlib.suppress(pkcs11.PKCS11Error):
                self._library.finalize()
            self._library.initialize()

    def _load(self) -> Any:
        if self._library is None:
            import pkcs11

            self._library = pkcs11.lib(str(self.path))
            if self._inherited:
                # What C_Initialize did before the fork is not valid in the child (section 5.4).
                self.restart()
        elif not self._library.initialized:
            self.restart()
        return self._library

    def _find(self, library: Any, place: TokenPlace) -> pkcs11.Token:
        import pkcs11

        found = [token for token in _tokens(library) if _is_at(token, place)]
        wanted = ";".join(f"{name}={value}" for name, value in place)
        if not found:
            raise pkcs11.NoSuchToken(f"there is no token with {wanted} at {self.path}")
        if len(found) > 1:
            raise ConfigurationError(f"{len(found)} tokens at {self.path} have {wanted}; add serial=")
        return found[0]

    def _log_out(self) -> None:
        for login in self._logins.values():
            # It may be gone already, with its device.
            with contextlib.suppress(Exception):
                login.session.close()
        self._logins.clear()

    def _run(self) -> None:
        while (waiting := self._calls.get()) is not None:
            future, call = waiting
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  # whatever it is belongs to whoever asked
                future.set_exception(error)
            else:
                future.set_result(result)
            # Neither the last answer nor its key stays alive while the queue is empty.
            del future, call, waiting
            result = None


class _Modules:
    """The modules of this process.  There must be one of each, whoever asks: the library itself is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lent: dict[Path, Module] = {}
        self._seen: set[Path] = set()
        self._before_fork: frozenset[Path] = frozenset()
        os.register_at_fork(after_in_child=self._forked)

    def lend(self, path: Path) -> Module:
        path = path.resolve()
        with self._lock:
            module = self._lent.get(path)
            if module is None:
                module = self._lent[path] = Module(path, inherited=path in self._before_fork)
            module.users += 1
            self._seen.add(path)
            return module

    def give_back(self, module: Module) -> bool:
        with self._lock:
            module.users -= 1
            if module.users or self._lent.get(module.path) is not module:
                return False
            del self._lent[module.path]
            return True

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._before_fork = frozenset(self._seen)
        self._lent = {}


_modules = _Modules()


def _tokens(library: Any) -> Iterable[pkcs11.Token]:
    import pkcs11

    for slot in library.get_slots(token_present=True):
        # A slot that was just emptied, or whose token has no name yet.
        with contextlib.suppress(pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
            yield slot.get_token()


def _is_at(token: pkcs11.Token, place: TokenPlace) -> bool:
    is_there = {
        "token": token.label,
        "serial": _text(token.serial),
        "model": token.model,
        "manufacturer": token.manufacturer_id,
    }
    return all(is_there[name] == value for name, value in place)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.rstrip(b"\0 ").decode("ascii", "replace")
