"""Ranges of addresses: whether strangers lie in them."""

import ipaddress

_NOT_THE_INTERNET = tuple(
    ipaddress.ip_network(one)
    for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
)
"""https://www.rfc-editor.org/rfc/rfc1918, rfc6598, rfc4193, rfc4291"""
_OF_ONE_OWNER = {4: 16, 6: 32}
"""Ranges longer than this belong to many: 65,536 addresses, or what a provider gets of IPv6."""


def is_anywhere(written: str) -> bool:
    """Whether the range takes in so much of the internet that it names nobody."""
    try:
        network = ipaddress.ip_network(written, strict=False)
    except ValueError:
        return False
    return network.prefixlen < _OF_ONE_OWNER[network.version] and not any(
        _lies_in(network, private) for private in _NOT_THE_INTERNET
    )


def lies_within(inner: str, outer: str) -> bool:
    """Whether each address of one range is of the other. False where one of them is no range."""
    try:
        return _lies_in(ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False))
    except ValueError:
        return False


def _lies_in(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
