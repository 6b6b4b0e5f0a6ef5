//! The guard: which URLs and which addresses may be reached. It must not resolve a name nor open a connection.

use std::net::IpAddr;

use url::{Host, Url};

use super::allow::AllowList;
use super::ranges;

/// The longest URL, in bytes; signed ones have some thousands.
const LONGEST_URL: usize = 16 << 10;

/// Why something may not be reached. It shows neither the URL nor the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    /// The text is no absolute URL.
    #[error("it is no URL")]
    NoUrl,
    /// The URL is longer than any that is meant to be fetched.
    #[error("it is longer than {LONGEST_URL} bytes")]
    TooLong,
    /// Neither `http` nor `https`.
    #[error("only http:// and https:// URLs are fetched")]
    Scheme,
    /// A user or a password in the URL.
    #[error("a URL with a user or a password is not fetched")]
    Credentials,
    /// No host.
    #[error("it names no host")]
    NoHost,
    /// A name that only local networks know.
    #[error("its host is a name of local networks; an operator can allow it with `fetch_allow`")]
    LocalName,
    /// The host is an address that is not public, or a name that leads to such a one.
    #[error("its host is {0}; an operator can allow it with `fetch_allow`")]
    Address(&'static str),
}

/// How a URL passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlClearance {
    /// Its host may be public: each address its name leads to must still pass [`AddressGuard::check_addr`].
    Public,
    /// An operator allows its host, wherever its name leads.
    Allowed,
}

/// Holds URLs and addresses against the public internet and what an operator allows besides.
#[derive(Debug, Clone, Default)]
pub struct AddressGuard {
    allow: AllowList,
}

impl AddressGuard {
    /// A guard that lets through what is public, and what `allow` holds.
    #[must_use]
    pub fn new(allow: AllowList) -> Self {
        Self { allow }
    }

    /// Reads a caller's text and checks it as [`AddressGuard::check_url`] does.
    ///
    /// # Errors
    /// It is no URL, or one that may not be fetched.
    pub fn parse(&self, text: &str) -> Result<Url, GuardRefusal> {
        if text.len() > LONGEST_URL {
            return Err(GuardRefusal::TooLong);
        }
        let url = Url::parse(text).map_err(|_| GuardRefusal::NoUrl)?;
        self.check_url(&url)?;
        Ok(url)
    }

    /// Checks all of a URL that can be checked without resolving its name: scheme, credentials, and the host in any
    /// form, of which addresses are the ones that no resolver will ever see.
    ///
    /// # Errors
    /// Why it may not be fetched.
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

    /// Checks an address that is to be connected to.
    ///
    /// # Errors
    /// What it is, if neither public nor allowed.
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

/// The ends of names that no public server has: RFC 6761, 6762, 8375 and 9476, ICANN's choice of `internal`, and
/// what networks, containers and clouds have taken on their own.
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
    // A name without a dot is completed by the resolver, with the network's own domain.
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
