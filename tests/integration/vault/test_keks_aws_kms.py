"""What is particular to a KEK at AWS KMS: how a key is found, refused, asked, and what KMS's answers mean."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from authpipe.domain.errors import ConfigurationError, VaultError, VaultUnavailable
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks import aws_kms
from authpipe.vault.keks.aws_kms import AwsKmsKek
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.uri import open_keks
from support.kms import CREDENTIALS, Kms, ToldKms

Open = Callable[[str], Kek]


@pytest.fixture
def told(aws_environment: None) -> Iterator[ToldKms]:
    told = ToldKms()
    yield told
    told.stop()


def refusal(uri: str) -> str:
    """What the operator is told."""
    with pytest.raises(ConfigurationError) as caught:
        open_keks([uri], production=True)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    return str(caught.value)


async def test_an_alias_is_followed_once(kms: Kms, open_kek: Open) -> None:
    """When it points to another key later, what is open stays with its key; what opens then is another."""
    first, second = kms.make_key(), kms.make_key()
    kms.client().create_alias(AliasName="alias/moving", TargetKeyId=first)
    uri = kms.uri("alias/moving", region="eu-central-1")
    kek = open_kek(uri)
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    kms.client().update_alias(AliasName="alias/moving", TargetKeyId=second)
    await kek.unwrap(wrapped, b"place")
    assert kek.kek_id == open_kek(kms.uri(first)).kek_id
    assert open_kek(uri).kek_id == open_kek(kms.uri(second)).kek_id != kek.kek_id


def test_the_replicas_of_a_multi_region_key_are_one_kek(kms: Kms) -> None:
    """Another region takes over with a URI of its own.  (moto cannot decrypt with such keys.)"""
    arn = kms.make_key(MultiRegion=True)
    replica = kms.client().replicate_key(KeyId=arn.rpartition("/")[2], ReplicaRegion="eu-west-1")
    ids = set()
    for each in (arn, replica["ReplicaKeyMetadata"]["Arn"]):
        kek = AwsKmsKek.open(kms.uri(each).partition(":")[2], production=True, trial=False)
        ids.add(kek.kek_id)
        kek.close()
    assert arn != replica["ReplicaKeyMetadata"]["Arn"]
    assert len(ids) == 1


async def test_the_region_may_come_from_the_environment(
    kms: Kms, open_kek: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a key id or alias; without one the message says where to put it."""
    arn = kms.make_key()
    key_id = arn.rpartition("/")[2]
    assert "the region of the aws-kms KEK" in refusal(kms.uri(key_id))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert open_kek(kms.uri(key_id)).kek_id == f"aws-kms-{key_id}"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"])
def test_an_endpoint_of_the_environment_is_checked_like_one_of_the_uri(
    aws_environment: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """boto3 takes it where the URI has none; data keys travel over plain HTTP from neither."""
    monkeypatch.setenv(name, "http://kms.example.com:8080")
    uri = "aws-kms:alias/authpipe?region=eu-central-1"
    assert "must begin with https:// in production" in refusal(uri)


async def test_a_loopback_endpoint_of_the_environment_will_do(
    kms: Kms, open_kek: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing travels there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
    kek = open_kek(f"aws-kms:{kms.make_key()}")
    await kek.unwrap(await kek.wrap(AesKey.generate(), b"place"), b"place")


async def test_nobody_waits_for_a_thread_without_end(told: ToldKms, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are busy with a KMS that does not answer: who comes then is told in time, and so are they."""
    monkeypatch.setattr(aws_kms, "_DEADLINE_S", 0.5)
    kek = AwsKmsKek.open(told.rest, production=True, trial=False)
    answers = threading.Event()
    for _ in range(8):
        kek._threads.submit(answers.wait)
    try:
        async with asyncio.timeout(5):
            results = await asyncio.gather(
                *(kek.unwrap(b"\x01blob", b"place") for _ in range(20)), return_exceptions=True
            )
    finally:
        answers.set()
        kek.close()
    assert {type(each) for each in results} == {VaultUnavailable}
    assert results[0].__context__ is None
    assert [action for action, _ in told.asked] == ["DescribeKey"]


async def test_kms_learns_a_hash_of_the_place_and_the_key(told: ToldKms) -> None:
    """The encryption context, which CloudTrail shows, tells nothing; the key is named by its ARN."""
    told.answers["Encrypt"] = (200, {"CiphertextBlob": base64.b64encode(b"blob").decode(), "KeyId": told.ARN})
    kek = AwsKmsKek.open(told.rest, production=True, trial=False)
    assert await kek.wrap(AesKey.generate(), b"tenant org_acme") == b"\x01blob"
    action, asked = told.asked[-1]
    assert (action, asked["KeyId"]) == ("Encrypt", told.ARN)
    assert asked["EncryptionContext"] == {"authpipe": hashlib.sha256(b"tenant org_acme").hexdigest()}
    assert "org_acme" not in json.dumps(asked)
    kek.close()


async def test_a_wrapped_key_moved_elsewhere_is_refused_by_kms_itself(kms: Kms, open_kek: Open) -> None:
    """Whoever may call KMS and has the blob still needs the place it belongs to."""
    arn = kms.make_key()
    wrapped = await open_kek(kms.uri(arn)).wrap(AesKey.generate(), b"place")
    client = kms.client()
    with pytest.raises(client.exceptions.InvalidCiphertextException):
        client.decrypt(CiphertextBlob=wrapped[1:], KeyId=arn)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        pytest.param({"KeySpec": "RSA_2048"}, "RSA_2048, ENCRYPT_DECRYPT", id="RSA"),
        pytest.param({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, "SIGN_VERIFY", id="signing"),
        pytest.param({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "HMAC_256", id="HMAC"),
    ],
)
def test_a_key_of_another_kind_is_refused(kms: Kms, wishes: dict[str, Any], message: str) -> None:
    """Only a symmetric key for encryption wraps."""
    told = refusal(kms.uri(kms.make_key(**wishes)))
    assert "cannot wrap keys" in told
    assert message in told


def test_a_disabled_key_and_one_about_to_be_deleted_are_refused(kms: Kms) -> None:
    """With the state and the remedy."""
    disabled, dying = kms.make_key(), kms.make_key()
    kms.client().disable_key(KeyId=disabled.rpartition("/")[2])
    kms.client().schedule_key_deletion(KeyId=dying.rpartition("/")[2], PendingWindowInDays=7)
    assert "is not enabled but Disabled; enable it" in refusal(kms.uri(disabled))
    assert "is not enabled but PendingDeletion" in refusal(kms.uri(dying))


def test_a_key_that_does_not_exist_is_named(kms: Kms) -> None:
    """An id nobody made, and an alias."""
    arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    assert f"{arn} does not exist" in refusal(kms.uri(arn))
    assert "alias/nobody does not exist" in refusal(kms.uri("alias/nobody", region="eu-central-1"))


def test_missing_credentials_are_told(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to set."""
    uri = kms.uri(kms.make_key())
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    assert "there are no AWS credentials" in refusal(uri)


async def test_permissions_are_tried_at_opening(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may look but not wrap is refused as primary, and good enough behind one."""
    arn, iam = kms.make_key(), kms.client("iam")
    iam.create_user(UserName="authpipe")
    key = iam.create_access_key(UserName="authpipe")["AccessKey"]
    for name, value in (
        ("AWS_ACCESS_KEY_ID", key["AccessKeyId"]),
        ("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"]),
    ):
        monkeypatch.setenv(name, value)

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        iam.put_user_policy(
            UserName="authpipe",
            PolicyName="keks",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )

    def granted(*actions: str) -> str | None:
        allow(*actions)
        with kms.checking_permissions():
            try:
                open_keks([kms.uri(arn)], production=True).close()
            except ConfigurationError as error:
                return str(error)
        return None

    assert "allow kms:DescribeKey on the key" in str(granted("kms:Encrypt", "kms:Decrypt"))
    assert "allow kms:Encrypt on the key" in str(granted("kms:DescribeKey", "kms:Decrypt"))
    assert "allow kms:Decrypt on the key" in str(granted("kms:DescribeKey", "kms:Encrypt"))
    assert granted("kms:DescribeKey", "kms:Encrypt", "kms:Decrypt") is None
    allow("kms:DescribeKey")
    rest = kms.uri(arn).partition(":")[2]
    with kms.checking_permissions():
        kek = AwsKmsKek.open(rest, production=True, trial=False)
        with pytest.raises(VaultError) as caught:
            await kek.wrap(AesKey.generate(), b"place")
        kek.close()
    assert caught.value.detail == f"KMS answered 403 for {arn}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param("AccessDeniedException", "allow kms:Encrypt on the key", id="not allowed"),
        pytest.param("UnrecognizedClientException", "does not accept the credentials", id="unknown"),
        pytest.param("InvalidSignatureException", "does not accept the credentials", id="wrong secret"),
        pytest.param("ExpiredTokenException", "does not accept the credentials", id="expired"),
        pytest.param("DisabledException", "enable it", id="disabled a moment ago"),
        pytest.param("ValidationException", "refused kms:Encrypt", id="anything else"),
    ],
)
def test_a_refusal_at_opening_is_told_with_its_remedy(told: ToldKms, code: str, message: str) -> None:
    """In KMS's own words only by their code."""
    told.answers["Encrypt"] = (400, {"__type": code, "message": "plaintext-canary"})
    text = refusal(f"aws-kms:{told.rest}")
    assert message in text
    assert "canary" not in text


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(400, "InvalidCiphertextException", VaultError, id="not its ciphertext"),
        pytest.param(400, "IncorrectKeyException", VaultError, id="another key's"),
        pytest.param(400, "AccessDeniedException", VaultError, id="no permission any more"),
        pytest.param(400, "NotFoundException", VaultError, id="the key is gone"),
        pytest.param(400, "DisabledException", VaultError, id="disabled"),
        pytest.param(400, "KMSInvalidStateException", VaultError, id="about to be deleted"),
        pytest.param(400, "ThrottlingException", VaultUnavailable, id="too many calls"),
        pytest.param(400, "LimitExceededException", VaultUnavailable, id="over a quota"),
        pytest.param(400, "ExpiredTokenException", VaultUnavailable, id="session credentials ran out"),
        pytest.param(500, "KMSInternalException", VaultUnavailable, id="their fault"),
        pytest.param(500, "KeyUnavailableException", VaultUnavailable, id="the key store is away"),
        pytest.param(503, "DependencyTimeoutException", VaultUnavailable, id="they wait themselves"),
    ],
)
async def test_an_answer_is_final_or_passes(
    told: ToldKms, status: int, code: str, expected: type[Exception]
) -> None:
    """What an operator has to mend is final; what passes by itself may be tried again."""
    kek = AwsKmsKek.open(told.rest, production=True, trial=False)
    told.answers["Decrypt"] = (status, {"__type": code, "message": "plaintext-canary"})
    with pytest.raises(expected) as caught:
        await kek.unwrap(b"\x01blob", b"place")
    assert getattr(caught.value, "detail", "") == f"KMS answered {code} for {told.ARN}"
    assert caught.value.__context__ is None
    kek.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"Plaintext": "AAAA", "KeyId": ToldKms.ARN}, id="no key's length"),
        pytest.param(
            {"Plaintext": base64.b64encode(b"k" * 32).decode(), "KeyId": "arn:other"}, id="another key"
        ),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    told: ToldKms, answer: dict[str, str]
) -> None:
    """Whoever answers in KMS's place gets nothing accepted that is no data key of this KEK."""
    kek = AwsKmsKek.open(told.rest, production=True, trial=False)
    told.answers["Decrypt"] = (200, answer)
    with pytest.raises(VaultError):
        await kek.unwrap(b"\x01blob", b"place")
    kek.close()


def test_a_missing_boto3_is_told_with_the_extra(
    aws_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to know the name of the library."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert "pip install 'authpipe[aws]'" in refusal("aws-kms:alias/authpipe?region=eu-central-1")
