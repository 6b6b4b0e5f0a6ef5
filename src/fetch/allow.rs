//! The hosts and networks that may be fetched from although they are not public.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// An operator's allow list. It is empty by default: only the public internet is allowed.
///
/// List only names whose DNS you trust, because an allowed name may resolve to any address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<AllowedPlace>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedPlace {
    place: HostOrNetwork,
    /// Any port, if none is named.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostOrNetwork {
    Name(String),
    /// Every name that ends with this text, which begins with a dot.
    Below(String),
    Network(IpNet),
}

impl AllowList {
    /// Parses entries separated by commas: a name (`media.corp`), all names below one (`*.corp`), a network
    /// (`10.0.0.0/8`) or an address, and a name or an address with a port (`media.corp:8080`,
    /// `[fd00::1]:80`).
    ///
    /// An address with a port allows URLs that contain it; an address without a port also allows names that
    /// resolve to it. Returns `None` if an entry has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(AllowedPlace::parse).collect::<Option<_>>().map(Self)
    }

    /// Whether a URL with this `host` and `port` is allowed, whatever the host resolves to.
    pub(super) fn names(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        self.0.iter().any(|entry| (entry.port.is_none() || entry.port == port) && entry.place.is(host))
    }

    /// Whether a name may resolve to `address`.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.0.iter().any(|entry| entry.port.is_none() && entry.place.contains(address))
    }
}

impl AllowedPlace {
    fn parse(text: &str) -> Option<Self> {
        if let Some(place) = HostOrNetwork::parse(text) {
            return Some(Self { place, port: None });
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let place = HostOrNetwork::parse(host).filter(|_| !host.contains('/'))?;
        Some(Self { place, port: Some(port) })
    }
}

impl HostOrNetwork {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        match Host::parse(name).ok().filter(|_| !name.contains('*'))? {
            Host::Domain(name) if below => Some(Self::Below(format!(".{}", plain(&name)))),
            Host::Domain(name) => Some(Self::Name(plain(&name).to_owned())),
            Host::Ipv6(address) if !below => Some(Self::Network(IpAddr::V6(address).into())),
            _ => None,
        }
    }

    fn is(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Name(name), Host::Domain(host)) => plain(host) == name,
            (Self::Below(end), Host::Domain(host)) => plain(host).ends_with(end),
            (_, Host::Ipv4(address)) => self.contains(IpAddr::V4(*address)),
            (_, Host::Ipv6(address)) => self.contains(IpAddr::V6(*address)),
            (Self::Network(_), Host::Domain(_)) => false,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

/// The name without its final dot, if it has one.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str, host: &str, port: u16) -> bool {
        let url = url::Url::parse(&format!("http://{host}")).unwrap();
        AllowList::parse(list).unwrap().names(&url.host().unwrap(), Some(port))
    }

    #[test]
    fn names_are_exact_or_below_one() {
        assert!(names("a.corp, media.corp", "Media.Corp", 80) && names("media.corp", "media.corp.", 80));
        assert!(!names("media.corp", "x.media.corp", 80) && !names("media.corp", "media.corp.evil", 80));
        assert!(names("*.corp", "a.b.corp", 80) && names("*.corp.", "a.corp", 80));
        assert!(!names("*.corp", "corp", 80) && !names("*.corp", "acorp", 80));
    }

    #[test]
    fn a_port_narrows_a_host() {
        assert!(names("media.corp:8080", "media.corp", 8080) && !names("media.corp:8080", "media.corp", 80));
        assert!(names("[fd00::1]:80", "[fd00::1]", 80) && !names("[fd00::1]:80", "[fd00::1]", 81));
        let list = AllowList::parse("10.0.0.1:80, 10.0.0.2, fd00::/8").unwrap();
        let holds = ["10.0.0.1", "10.0.0.2", "fd12::1", "10.0.0.3"].map(|ip| list.holds(ip.parse().unwrap()));
        assert_eq!(holds, [false, true, true, false], "an address with a port is for URLs that name it");
    }

    #[test]
    fn what_is_none_of_these_is_refused() {
        for text in ["", " , ", "127.0.0.1", "127.0.0.0/8", "[::1]", "::1", "*.a:1", "ÄÖ.example"] {
            assert!(AllowList::parse(text).is_some(), "{text}");
        }
        for text in [
            "*",
            "*.",
            "*.10.0.0.1",
            "a b",
            "http://a",
            "10.0.0.0/33",
            "a:0",
            "a:65536",
            "10.0.0.0/8:80",
            "a/b",
        ] {
            assert!(AllowList::parse(text).is_none(), "{text}");
        }
    }
}
