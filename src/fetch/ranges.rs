//! Which addresses are on the public internet.
//!
//! Source: IANA's special-purpose address registries for IPv4 and IPv6; the addresses of metadata services are
//! those their clouds document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The kind of `address`, if it is not public; completes "is …".
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => {
            // A cloud's metadata address is checked first, because some clouds use public ranges for it.
            translated(address).map_or_else(|| not_public_v6(address), not_public_v4)
        }
    }
}

/// The IPv4 address that `address` leads to: mapped into IPv6, or through NAT64.
pub(super) fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    address.to_ipv4_mapped().or_else(|| NAT64.contains(&address).then(|| last_four(address)))
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some((_, what)) = V6.iter().find(|(network, _)| network.contains(&address)) {
        return Some(what);
    }
    if !GLOBAL.contains(&address) {
        return Some("outside of the public IPv6 range");
    }
    is_isatap(address).then(|| not_public_v4(last_four(address))).flatten()
}

/// ISATAP (RFC 5214) embeds an IPv4 address in the interface identifier of any network.
fn is_isatap(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[4] & !0x0200 == 0 && segments[5] == 0x5efe
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: [u16; 3], length: u8) -> Ipv6Net {
    let [a, b, c] = first;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// The only range from which public IPv6 addresses are assigned.
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0], 3);

/// The prefix of RFC 6052, with which an IPv6-only network reaches IPv4.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

const RESERVED: &str = "a reserved address";
const PRIVATE: &str = "a private address";
const DOCUMENTATION: &str = "an address for documentation";
const TUNNEL: &str = "the address of a tunnel to IPv4";
const METADATA: &str = "the address of a cloud's metadata service";

static V4: [(Ipv4Net, &str); 19] = [
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([10, 0, 0, 0], 8), PRIVATE),
    (v4([100, 100, 100, 200], 32), METADATA),
    (v4([100, 64, 0, 0], 10), "an address of a provider's own network"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([168, 63, 129, 16], 32), METADATA),
    (v4([169, 254, 169, 254], 32), METADATA),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([172, 16, 0, 0], 12), PRIVATE),
    (v4([192, 0, 0, 0], 24), RESERVED),
    (v4([192, 0, 2, 0], 24), DOCUMENTATION),
    (v4([192, 88, 99, 0], 24), TUNNEL),
    (v4([192, 168, 0, 0], 16), PRIVATE),
    (v4([198, 18, 0, 0], 15), "an address for benchmarks"),
    (v4([198, 51, 100, 0], 24), DOCUMENTATION),
    (v4([203, 0, 113, 0], 24), DOCUMENTATION),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (v4([240, 0, 0, 0], 4), RESERVED),
];

static V6: [(Ipv6Net, &str); 13] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "an unspecified address"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "a loopback address"),
    (v6([0x64, 0xff9b, 1], 48), "an address of a provider's own network"),
    (v6([0xfd00, 0xec2, 0], 32), METADATA),
    (v6([0xfc00, 0, 0], 7), PRIVATE),
    (v6([0xfe80, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0], 10), PRIVATE),
    (v6([0xff00, 0, 0], 8), "a multicast address"),
    (v6([0x2001, 0, 0], 32), TUNNEL),
    (v6([0x2001, 0, 0], 23), RESERVED),
    (v6([0x2001, 0xdb8, 0], 32), DOCUMENTATION),
    (v6([0x2002, 0, 0], 16), TUNNEL),
    (v6([0x3fff, 0, 0], 20), DOCUMENTATION),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Option<&'static str> {
        not_public(address.parse().unwrap())
    }

    #[test]
    fn every_range_ends_where_it_should() {
        let inside_and_beside = [
            ("0.255.255.255", "1.0.0.0"),
            ("10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("127.255.255.254", "128.0.0.1"),
            ("168.63.129.16", "168.63.129.17"),
            ("169.254.0.1", "169.253.255.255"),
            ("172.16.0.0", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.0.0.170", "192.0.1.0"),
            ("192.0.2.1", "192.0.3.0"),
            ("192.88.99.1", "192.88.98.1"),
            ("192.168.255.255", "192.169.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("198.51.100.7", "198.51.101.7"),
            ("203.0.113.7", "203.0.114.7"),
            ("224.0.0.1", "223.255.255.255"),
            ("240.0.0.1", "8.8.8.8"),
            ("2001:1ff:ffff::1", "2001:200::1"),
            ("2001:db8::1", "2001:db9::1"),
            ("2002:7f00:1::", "2003::1"),
            ("3fff:fff::1", "3ffe::1"),
            ("4000::1", "3000::1"),
        ];
        for (inside, beside) in inside_and_beside {
            assert!(of(inside).is_some(), "{inside}");
            assert_eq!(of(beside), None, "{beside}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_is_what_it_is_in_ipv4() {
        for prefix in ["::ffff:", "64:ff9b::"] {
            assert_eq!(of(&format!("{prefix}8.8.8.8")), None, "{prefix}");
            assert_eq!(of(&format!("{prefix}169.254.169.254")), Some(METADATA), "{prefix}");
        }
        assert_eq!(of("2600:1:2:3:0:5efe:7f00:1"), Some("a loopback address"));
        assert_eq!(of("2600:1:2:3:200:5efe:10.0.0.1"), Some(PRIVATE));
        assert_eq!(of("2600:1:2:3:0:5efe:8.8.8.8"), None);
    }

    #[test]
    fn all_of_ipv6_outside_the_public_range_is_refused() {
        for address in [
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:2::1",
            "100::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
        ] {
            assert!(of(address).is_some(), "{address}");
        }
        assert_eq!(of("fd00:ec2::254"), Some(METADATA));
        assert_eq!(of("2606:4700::6810:84e5"), None);
    }
}
