//! The guard against server-side request forgery: which URLs and which addresses may be reached.

use std::net::IpAddr;

use url::{Host, Url};

use super::allow::AllowList;
use super::ranges;

/// The longest URL in bytes; signed URLs have a few thousand.
const LONGEST_URL: usize = 16 << 10;

/// Why a URL or an address is refused. It shows neither of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    /// The text is not an absolute URL.
    #[error("it is no URL")]
    NoUrl,
    /// The URL is too long.
    #[error("it is longer than {LONGEST_URL} bytes")]
    TooLong,
    /// The scheme is neither `http` nor `https`.
    #[error("only http:// and https:// URLs are fetched")]
    Scheme,
    /// The URL contains a user or a password.
    #[error("a URL with a user or a password is not fetched")]
    Credentials,
    /// The URL has no host.
    #[error("it names no host")]
    NoHost,
    /// The name exists only in local networks.
    #[error("its host is a name of local networks; an operator can allow it with `fetch_allow`")]
    LocalName,
    /// The host is an address that is not public, or resolves to one.
    #[error("its host is {0}; an operator can allow it with `fetch_allow`")]
    Address(&'static str),
}

/// How a URL was cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlClearance {
    /// The host may be public. Each address that it resolves to must still pass [`AddressGuard::check_addr`].
    Public,
    /// An operator allows the host, whatever it resolves to.
    Allowed,
}

/// Checks URLs and addresses against the public internet and an operator's allow list.
#[derive(Debug, Clone, Default)]
pub struct AddressGuard {
    allow: AllowList,
}

impl AddressGuard {
    /// A guard that admits public addresses and those in `allow`.
    #[must_use]
    pub fn new(allow: AllowList) -> Self {
        Self { allow }
    }

    /// Parses a caller's text and checks it as [`AddressGuard::check_url`] does.
    ///
    /// # Errors
    /// The text is not a URL, or the URL is refused.
    pub fn parse(&self, text: &str) -> Result<Url, GuardRefusal> {
        if text.len() > LONGEST_URL {
            return Err(GuardRefusal::TooLong);
        }
        let url = Url::parse(text).map_err(|_| GuardRefusal::NoUrl)?;
        self.check_url(&url)?;
        Ok(url)
    }

    /// Checks everything about a URL that needs no name resolution: the scheme, credentials, and the host.
    /// Addresses in any notation are checked here, because no resolver sees them.
    ///
    /// # Errors
    /// Why the URL is refused.
    pub fn check_url(&self, url: &Url) -> Result<UrlClearance, GuardRefusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(GuardRefusal::Scheme);
        }
        if url.as_str().len() > LONGEST_URL {
            return Err(GuardRefusal::TooLong);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(GuardRefusal::Credentials);
        }
        let host = url.host().ok_or(GuardRefusal::NoHost)?;
        if self.allow.names(&host, url.port_or_known_default()) {
            return Ok(UrlClearance::Allowed);
        }
        match host {
            Host::Domain(name) if is_local(name) => Err(GuardRefusal::LocalName),
            Host::Domain(_) => Ok(UrlClearance::Public),
            Host::Ipv4(address) => self.check_addr(IpAddr::V4(address)).map(|()| UrlClearance::Public),
            Host::Ipv6(address) => self.check_addr(IpAddr::V6(address)).map(|()| UrlClearance::Public),
        }
    }

    /// Checks an address before a connection to it.
    ///
    /// # Errors
    /// The kind of address, if it is neither public nor allowed.
    pub fn check_addr(&self, address: IpAddr) -> Result<(), GuardRefusal> {
        let Some(what) = ranges::not_public(address) else { return Ok(()) };
        let inner = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => ranges::translated(address).map(IpAddr::V4),
        };
        let allowed = self.allow.holds(address) || inner.is_some_and(|inner| self.allow.holds(inner));
        if allowed { Ok(()) } else { Err(GuardRefusal::Address(what)) }
    }
}

/// Suffixes of names that no public host has: RFC 6761, 6762, 8375 and 9476, ICANN's choice of `internal`,
/// and suffixes that networks, containers and clouds use.
static LOCAL_ENDS: [&str; 17] = [
    "cluster",
    "consul",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "alt",
    "svc",
    "metadata.goog",
];

fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let ends_with =
        |end: &&str| name.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    // The resolver completes a name without a dot with the local network's domain.
    !name.contains('.') || LOCAL_ENDS.iter().any(ends_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(allow: &str, url: &str) -> Result<UrlClearance, GuardRefusal> {
        AddressGuard::new(AllowList::parse(allow).unwrap()).check_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn public_hosts_pass() {
        for url in [
            "https://example.com/a.png",
            "http://example.com:8080/a?b=c#d",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::8.8.8.8]/",
            "https://bücher.example/",
            "https://localhost.example/",
            "https://internal.example.org./",
            "https://notlocal.org/",
        ] {
            assert_eq!(checked("", url), Ok(UrlClearance::Public), "{url}");
        }
    }

    #[test]
    fn each_rule_refuses_with_its_reason() {
        let long = format!("https://a.example/{}", "x".repeat(LONGEST_URL));
        for (url, refused) in [
            ("ftp://example.com/", GuardRefusal::Scheme),
            ("file:///etc/passwd", GuardRefusal::Scheme),
            ("data:text/plain,x", GuardRefusal::Scheme),
            (long.as_str(), GuardRefusal::TooLong),
            ("https://user@example.com/", GuardRefusal::Credentials),
            ("https://:pw@example.com/", GuardRefusal::Credentials),
            ("http://localhost/", GuardRefusal::LocalName),
            ("http://a.LOCALHOST./", GuardRefusal::LocalName),
            ("http://redis:6379/", GuardRefusal::LocalName),
            ("http://metadata.google.internal/", GuardRefusal::LocalName),
            ("http://169.254.169.254/", GuardRefusal::Address("the address of a cloud's metadata service")),
            ("http://[::1]/", GuardRefusal::Address("a loopback address")),
        ] {
            assert_eq!(checked("", url), Err(refused), "{url}");
        }
        assert_eq!(AddressGuard::default().parse("//example.com"), Err(GuardRefusal::NoUrl));
        assert_eq!(AddressGuard::default().parse(&long), Err(GuardRefusal::TooLong));
        assert_eq!(AddressGuard::default().parse(" https://a.example/x ").unwrap().path(), "/x");
    }

    #[test]
    fn what_an_operator_allows_passes_and_nothing_beside_it() {
        let list = "media.corp:8080, localhost, 10.1.0.0/16, fd00::/8";
        for url in ["http://media.corp:8080/", "http://localhost:1/", "http://10.1.2.3/", "http://[fd00::7]/"]
        {
            assert_eq!(checked(list, url), Ok(UrlClearance::Allowed), "{url}");
        }
        for url in ["http://media.corp/", "http://10.2.0.1/", "http://127.0.0.1/", "http://a.localhost/"] {
            assert!(checked(list, url).is_err(), "{url}");
        }
        let user = checked(list, "http://u:p@localhost/");
        assert_eq!(user, Err(GuardRefusal::Credentials), "no allowance lifts this");
        let guard = AddressGuard::new(AllowList::parse(list).unwrap());
        for address in ["10.1.0.1", "::ffff:10.1.0.1", "64:ff9b::10.1.0.1", "fd00::1", "9.9.9.9"] {
            assert_eq!(guard.check_addr(address.parse().unwrap()), Ok(()), "{address}");
        }
        assert!(guard.check_addr("10.2.0.1".parse().unwrap()).is_err());
    }
}
