"""Where the process may connect to, as a table of addresses and URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.net.egress import EgressPolicy, EgressRefused

STRICT = EgressPolicy()
DEVELOPMENT = EgressPolicy(allow_loopback=True)

PRIVATE = [
    "0.0.0.0",  # unspecified
    "10.1.2.3",
    "100.64.0.1",  # carrier-grade NAT
    "100.100.100.200",  # metadata of one cloud
    "168.63.129.16",  # host agent of another
    "169.254.169.254",  # metadata of most
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:10.0.0.1",  # IPv4-mapped
    "::ffff:169.254.169.254",
    "::10.0.0.1",  # IPv4-compatible, long deprecated
    "2002:a00:1::",  # 6to4 of 10.0.0.1
    "2002:a9fe:a9fe::1",  # 6to4 of 169.254.169.254
    "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",  # NAT64 for local use
    "2001:0:a00:1::",  # Teredo
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata over IPv6
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "fd20:ce::254",  # metadata of another cloud
    "5f00::1",  # segment routing
    "100::1",  # discard-only
    "::ffff:0:10.0.0.1",  # IPv4-translated
    "2002:a83f:8110::",  # 6to4 of a host agent
    "64:ff9b::a83f:8110",
    "2606:4700::5efe:a00:1",  # ISATAP of 10.0.0.1
    "2606:4700::200:5efe:101:101",
    "2606:4700::1111%eth0",  # whatever the zone says, a public address has none
]
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
PUBLIC = [
    "1.1.1.1",
    "162.159.128.233",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "2002:101:101::",
    "64:ff9b::101:101",
]


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("policy", [STRICT, DEVELOPMENT], ids=["strict", "development"])
def test_an_address_that_is_not_public_is_refused(policy: EgressPolicy, address: str) -> None:
    """In development too: only this machine is added there, not the network it stands in."""
    with pytest.raises(EgressRefused) as refused:
        policy.check_address(address)
    assert refused.value.code == "egress_refused"
    assert address not in refused.value.message


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_refused_unless_allowed(address: str) -> None:
    """However it is written."""
    with pytest.raises(EgressRefused):
        STRICT.check_address(address)
    DEVELOPMENT.check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    """Also when it is carried inside an IPv6 address."""
    STRICT.check_address(address)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f000001", "1.2.3.4.5", "not an address"])
def test_what_is_no_literal_address_is_refused(address: str) -> None:
    """The check answers for addresses only."""
    with pytest.raises(EgressRefused):
        DEVELOPMENT.check_address(address)


@given(st.ip_addresses(v=4))
def test_mapping_an_ipv4_address_into_ipv6_changes_no_verdict(address: object) -> None:
    """Mapped and NAT64 forms are judged as the address they carry."""

    def allowed(text: str) -> bool:
        try:
            STRICT.check_address(text)
        except EgressRefused:
            return False
        return True

    assert allowed(f"::ffff:{address}") == allowed(str(address))
    assert allowed(f"64:ff9b::{address}") == allowed(str(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://provider.example/oauth2/token",
        "https://provider.example:8443/token?x=1",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://provider.example./",
        "https://1password.example/",
        "https://a_b.example/",
        "https://provider.example#@127.0.0.1/",
    ],
)
def test_an_https_url_is_allowed(url: str) -> None:
    """By name or public address, on any port."""
    STRICT.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/token",
        "https://",
        "https:///token",
        "http://provider.example/token",
        "ftp://provider.example/token",
        "file:///etc/passwd",
        "gopher://provider.example/",
        "https://user@provider.example/",
        "https://user:password@provider.example/",
        "https://:password@provider.example/",
        "https://provider.example:0/",
        "https://provider.example:65536/",
        "https://provider.example:port/",
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://169.254.169.254./",
        "https://127.0.0.1../",
        "https://017700000001/",
        "https://0x7f.0x0.0x0.0x1/",
        "https://0/",
        "https://1.1/",
        # digits and dots that become ASCII when a name is encoded
        "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
        "https://127\u30020\u30020\u30021/",
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1%2eexample/",
        "https://127.0.0.1%00.example/",
        "https://[127.0.0.1]/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1111%25eth0]/",
        "https://a..example/",
        "https://a.7/",
        "https://-a.example/",
        "https://xn--/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 130}example/",
        "https://exa\tmple.com/",
        "https://provider.example/a b",
        "https://provider.example/\r\nX-Injected: 1",
        "https://provider.example\\@10.0.0.1/",
        "https:\\\\provider.example/",
        "https:/127.0.0.1/",
        "//provider.example/",
        "https://127.0.0.1#@provider.example/",
        "https://127.0.0.1:443:80/",
        "http://localhost:8080/",
        "http://127.0.0.1:8080/",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """Scheme, user information, port and literal address each have their rule."""
    with pytest.raises(EgressRefused):
        STRICT.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/",
        "http://sandbox.localhost/",
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "https://localhost/",
    ],
)
def test_development_may_speak_plain_http_to_this_machine(url: str) -> None:
    """The sandbox has no certificate."""
    DEVELOPMENT.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/",
        "http://1.1.1.1/",
        "http://192.168.0.1/",
        "http://localhost.example/",
        "http://u:p@localhost/",
    ],
)
def test_development_may_speak_plain_http_to_nobody_else(url: str) -> None:
    """A token in plain text on a network is lost in development as well."""
    with pytest.raises(EgressRefused):
        DEVELOPMENT.check_url(url)


def test_a_refusal_does_not_repeat_the_query() -> None:
    """Secrets may stand there."""
    with pytest.raises(EgressRefused) as refused:
        STRICT.check_url("http://provider.example/x?clientSecret=canary-4711")
    assert "canary" not in repr(refused.value) + str(refused.value.detail)
