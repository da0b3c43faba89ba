import pytest

from stepwell.tools import NetworkPolicy, is_host_pattern
from stepwell.tools.network import Refused, host_matches


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9",
        "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
        "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "2001::1",
        "2001:db8::1", "2002:7f00:1::", "100::1", "no address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet_are_refused(address: str) -> None:
    assert not NetworkPolicy().allows_address(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "100.63.0.1", "172.32.0.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert NetworkPolicy().allows_address(address)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("127.0.0.1", True), ("10.0.0.1", True), ("::1", True), ("224.0.0.1", False), ("::ffff:224.0.0.1", False)],
)
def test_allow_private_allows_all_but_multicast(address: str, allowed: bool) -> None:
    assert NetworkPolicy(allow_private=True).allows_address(address) is allowed


@pytest.mark.parametrize(
    ("host", "pattern", "matches"),
    [
        ("a.org", "a.org", True),
        ("a.org", "A.org.", True),
        ("x.a.org", "a.org", False),
        ("x.a.org", "*.a.org", True),
        ("x.y.a.org", "*.a.org", True),
        ("a.org", "*.a.org", False),
        ("evila.org", "*.a.org", False),
        ("a.org.evil.com", "a.org", False),
        ("anything", "*", True),
    ],
)
def test_host_patterns(host: str, pattern: str, matches: bool) -> None:
    assert host_matches(host, pattern) is matches


@pytest.mark.parametrize("text", ["https://a.org", "a.org/x", "a.org:80", "", "*a.org", "a.*", "a b"])
def test_what_is_no_host_pattern(text: str) -> None:
    assert not is_host_pattern(text)


@pytest.mark.parametrize(
    ("url", "rebuilt", "host", "port"),
    [
        ("http://A.Org", "http://a.org/", "a.org", 80),
        ("HTTPS://a.org.:443/x y?q=1#f", "https://a.org/x%20y?q=1", "a.org", 443),
        ("https://a.org:8443/", "https://a.org:8443/", "a.org", 8443),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/", "2606:4700::1111", 80),
        ("http://a.org/[1-3]{x}", "http://a.org/[1-3]%7Bx%7D", "a.org", 80),
        ("http://a.org?@evil.org/", "http://a.org/?@evil.org/", "a.org", 80),
        ("http://a.org#@evil.org/", "http://a.org/", "a.org", 80),
        # An address in other writing is that address; whether it may be reached is checked where it is connected to.
        ("http://127\u30020\u30020\u30021/", "http://127.0.0.1/", "127.0.0.1", 80),
        ("http://[::ffff:127.0.0.1]/", "http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", 80),
        ("http://\u0430.org/", "http://xn--80a.org/", "xn--80a.org", 80),
    ],
)
def test_urls_are_rebuilt_from_their_parts(url: str, rebuilt: str, host: str, port: int) -> None:
    target = NetworkPolicy(("*",)).check_url(url)
    assert (target.url, target.host, target.port) == (rebuilt, host, port)


@pytest.mark.parametrize(
    "url",
    [
        "", "a.org", "//a.org", "ftp://a.org/", "file:///etc/passwd", "gopher://a.org", "javascript:1",
        "http://", "http:///x", "http://user@a.org/", "http://user:pw@a.org/", "http://a.org\\@evil.org/",
        "http://a.org:99999/", "http://a.org:x/", "http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/",
        "http://0177.0.0.1/", "http://1.2.3.4.5/", "http://[::1", "http://[fe80::1%25eth0]/", "http://a..b\n.org/",
        "http://a.org/\x00", "http://a.org/\r\nX: y", "http://-a.org/", "http://a%2eorg/", "http://a org/",
        "http://" + "a" * 300 + ".org/", "-o/tmp/x", "@/etc/passwd",
        "http://0/", "http://0x7f000001/", "http://017700000001/", "http://a.0x7f/", "http://a.org:80:80/",
        "http://a.org:0/", "http://xn--/", "http://\u200ba.org/", "http://a\u00ad.org/", "http://\uff41.org/",
        "http://\uff11\uff12\uff17.0.0.1/", "http://\u2460\u2461\u2466.0.0.1/",
    ],
)  # fmt: skip
def test_urls_that_programs_could_read_differently_are_refused(url: str) -> None:
    with pytest.raises(Refused) as caught:
        NetworkPolicy(("*",)).check_url(url)
    assert caught.value.code == "invalid_arguments"
