"""A key-encryption key at AWS KMS, which never shows it to anybody."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, final

from authpipe.domain.errors import ConfigurationError, VaultError, VaultUnavailable
from authpipe.vault.aes_key import KEY_BYTES, AesKey
from authpipe.vault.failure import unavailable, unusable
from authpipe.vault.keks.aws_kms_uri import SCHEME, AwsKmsUri, check_endpoint

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_FORMAT = b"\x01"
#: The most that KMS takes back (Decrypt, ``CiphertextBlob``).
_LARGEST_BLOB_BYTES = 6144

#: Calls at a time and connections kept; KMS answers within milliseconds and keysets are cached.
_THREADS = 8
#: Seconds.  With three attempts a call ends within about 20 s, inside the lease of a refresh.
_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 4.0
_ATTEMPTS = 3
#: Seconds a caller waits in all, for one of the threads too.
_DEADLINE_S = 20.0

#: Answers with a status below 500 that pass by themselves: too many calls, or session credentials that the
#: machine is about to replace.
_PASSING = frozenset(
    {
        "DependencyTimeoutException", "ExpiredToken", "ExpiredTokenException", "KeyUnavailableException",
        "LimitExceededException", "RequestExpired", "RequestTimeout", "RequestTimeoutException", "Throttling",
        "ThrottlingException", "TooManyRequestsException",
    }
)  # fmt: skip
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
        "InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch", "UnrecognizedClientException",
    }
)  # fmt: skip


@final
class AwsKmsKek:
    """Wraps data keys with a symmetric KMS key; what is stored is a format byte and KMS's own ciphertext.

    KMS binds it to the SHA-256 of the associated data as the encryption context, which is what appears in
    CloudTrail: equal for equal places, and telling nothing about them.  The id is that of the key: an alias
    is followed once, at opening, and the replicas of a multi-Region key are one KEK.
    """

    __slots__ = ("_arn", "_client", "_kek_id", "_threads", "_uri")

    def __init__(self, uri: AwsKmsUri, client: Any, *, arn: str, key_id: str) -> None:
        self._uri = uri
        self._client = client
        self._arn = arn
        self._kek_id = f"{SCHEME}-{key_id}"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=SCHEME)

    @classmethod
    def open(cls, rest: str, *, production: bool, trial: bool) -> AwsKmsKek:
        """Find the key that ``rest``, the URI after its scheme, names.

        ``trial`` wraps and unwraps once, so that a missing permission is noticed here and not at the first
        new tenant.  Credentials come from where boto3 looks for them.  Raises ``ConfigurationError`` with the
        remedy when boto3 is not installed and when the key is missing, not reachable, not allowed, disabled
        or of a kind that cannot wrap.
        """
        uri = AwsKmsUri.parse(rest, production=production)
        client = _connect(uri)
        try:
            # Without an endpoint in the URI boto3 takes one from its own settings (AWS_ENDPOINT_URL).
            check_endpoint(uri.key, client.meta.endpoint_url, production=production)
            metadata = _ask_first(uri, "DescribeKey", lambda: client.describe_key(KeyId=uri.key))[
                "KeyMetadata"
            ]
            _check(uri, metadata)
            kek = cls(uri, client, arn=metadata["Arn"], key_id=metadata["KeyId"])
            if trial:
                kek._try_out()
        except BaseException:
            client.close()
            raise
        return kek

    @property
    def uri(self) -> str:
        return self._uri.text

    @property
    def kek_id(self) -> str:
        return self._kek_id

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        return await self._call(lambda: self._encrypt(key.reveal_key_bytes(), associated_data))

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        if wrapped[:1] != _FORMAT:
            raise unusable("the wrapped key has an unknown format version")
        if not 1 < len(wrapped) <= _LARGEST_BLOB_BYTES + len(_FORMAT):
            raise unusable("the wrapped key has no length KMS would take")
        plaintext = await self._call(lambda: self._decrypt(wrapped, associated_data))
        if len(plaintext) != KEY_BYTES:
            raise unusable("what was unwrapped is not a data key")
        return AesKey(plaintext)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        answer = self._client.encrypt(
            KeyId=self._arn, Plaintext=plaintext, EncryptionContext=_context(associated_data)
        )
        blob: bytes = answer["CiphertextBlob"]
        return _FORMAT + blob

    def _decrypt(self, wrapped: bytes, associated_data: bytes) -> bytes:
        # KMS would pick the key by itself; named, any other key's ciphertext is refused.
        answer = self._client.decrypt(
            KeyId=self._arn,
            CiphertextBlob=wrapped[len(_FORMAT) :],
            EncryptionContext=_context(associated_data),
        )
        if answer["KeyId"] != self._arn:
            raise unusable("KMS decrypted with another key than the one that was asked for")
        plaintext: bytes = answer["Plaintext"]
        return plaintext

    async def _call(self, call: Callable[[], bytes]) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        failure: VaultError | VaultUnavailable
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self._threads, call), _DEADLINE_S
            )
        except ClientError as error:
            code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            passing = code in _PASSING or status == 429 or status >= 500
            failure = (unavailable if passing else unusable)(f"KMS answered {code} for {self._arn}")
        except BotoCoreError as error:
            # No connection, no answer, or no credentials from the machine's own service for them.
            failure = unavailable(f"KMS could not be asked about {self._arn}: {type(error).__name__}")
        except TimeoutError:
            failure = unavailable(f"KMS was not heard about {self._arn} within {_DEADLINE_S:g} s")
        # Out here, so that no exception of boto3, which knows the request, is its context.
        raise failure

    def _try_out(self) -> None:
        key, place = os.urandom(KEY_BYTES), b"authpipe trial"
        wrapped = _ask_first(self._uri, "Encrypt", lambda: self._encrypt(key, place))
        if _ask_first(self._uri, "Decrypt", lambda: self._decrypt(wrapped, place)) != key:
            raise ConfigurationError(f"the aws-kms KEK {self._uri.key} does not give back what it wrapped")

    def __repr__(self) -> str:
        return f"AwsKmsKek(uri={self.uri!r}, kek_id={self._kek_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AwsKmsKek cannot be pickled or copied")


def _context(associated_data: bytes) -> dict[str, str]:
    return {"authpipe": hashlib.sha256(associated_data).hexdigest()}


def _connect(uri: AwsKmsUri) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError
    except ImportError:
        raise ConfigurationError(
            "an aws-kms KEK needs boto3; install it with: pip install 'authpipe[aws]'"
        ) from None
    # Below this level botocore logs every request and answer whole, with the data keys in them.
    talkative = logging.getLogger("botocore")
    talkative.setLevel(max(logging.INFO, talkative.level))
    try:
        return boto3.session.Session().client(
            "kms",
            region_name=uri.region,
            endpoint_url=uri.endpoint_url,
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                max_pool_connections=_THREADS,
            ),
        )
    except NoRegionError:
        raise ConfigurationError(
            f"the region of the aws-kms KEK {uri.key} is not known; add '?region=' to it or set AWS_REGION"
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"boto3 cannot be set up for the aws-kms KEK {uri.key}: {type(error).__name__}"
        ) from None


def _ask_first(uri: AwsKmsUri, action: str, call: Callable[[], Any]) -> Any:
    """An answer at opening, or the ``ConfigurationError`` that tells the operator what to do."""
    from botocore import exceptions as aws

    where = f"the aws-kms KEK {uri.key}"
    try:
        return call()
    except aws.ClientError as error:
        told = _explain(where, _code(error), action)
    except (aws.NoCredentialsError, aws.PartialCredentialsError):
        told = f"there are no AWS credentials for {where}; give this process a role, or set AWS_ACCESS_KEY_ID"
    except aws.CredentialRetrievalError:
        told = f"the AWS credentials for {where} cannot be fetched; look at the role of this machine"
    except aws.BotoCoreError as error:
        told = (
            f"AWS KMS cannot be reached for {where} ({type(error).__name__}); "
            "look at its region, its endpoint_url and the network"
        )
    except VaultError as error:
        told = f"{where} is not usable: {error.detail}"
    raise ConfigurationError(told)


def _explain(where: str, code: str, action: str) -> str:
    if code in ("NotFoundException", "InvalidArnException"):
        return f"{where} does not exist in that account and region; look at its ARN"
    # A refusal in another form than KMS's own, as of a gateway on the way, has only its status for a code.
    if code in ("AccessDeniedException", "AccessDenied", "403"):
        return f"{where} may not be used by these AWS credentials; allow kms:{action} on the key"
    if code in _BAD_CREDENTIALS:
        return f"AWS does not accept the credentials for {where} ({code}); replace them"
    if code in ("DisabledException", "KMSInvalidStateException"):
        return f"{where} is disabled or going to be deleted ({code}); enable it, or cancel its deletion"
    return f"AWS KMS refused kms:{action} for {where} ({code})"


def _check(uri: AwsKmsUri, metadata: dict[str, Any]) -> None:
    where = f"the aws-kms KEK {uri.key}"
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT" or metadata.get("KeyUsage") != "ENCRYPT_DECRYPT":
        raise ConfigurationError(
            f"{where} cannot wrap keys ({metadata.get('KeySpec')}, {metadata.get('KeyUsage')}); "
            "use a symmetric key for encrypting and decrypting"
        )
    if metadata.get("KeyState") != "Enabled":
        raise ConfigurationError(
            f"{where} is not enabled but {metadata.get('KeyState')}; enable it, or cancel its deletion"
        )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "an unknown error"))
