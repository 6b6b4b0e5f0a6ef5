//! Identifiers as distinct types, so that one is never taken for another.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::time::UnixMillis;

/// A text that is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(pub &'static str);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Parses the hyphenated form, in either case.
            ///
            /// # Errors
            /// [`InvalidId`] for anything that is not a hyphenated UUID.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
                uuid.map(Self).ok_or(InvalidId(concat!($what, " must be a UUID such as 0198c1c2-7d1e-7abc-8def-0123456789ab")))
            }

            /// An id from `random` bits.
            #[must_use]
            pub fn from_random(random: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            /// Lowercase and hyphenated, which is the only form that ComfyUI 0.24 accepts.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

uuid_id!(
    /// A job's public id, which `POST /execute` returns and `/results/{prompt_id}` takes.
    PromptId,
    "a prompt id"
);
uuid_id!(
    /// One attempt's id, which is the run's `prompt_id` at ComfyUI. The first attempt has the job's own id.
    AttemptId,
    "an attempt id"
);
uuid_id!(
    /// One running gateway process, as the owner of leases.
    LeaseOwner,
    "a lease owner"
);
uuid_id!(
    /// The gateway that owns a database. It is the same over restarts, and ComfyUI knows it as `client_id`.
    GatewayId,
    "a gateway id"
);

uuid_id!(
    /// A file that was uploaded with `POST /files`.
    FileId,
    "a file id"
);

impl PromptId {
    /// A time-ordered id (UUID version 7) for a job accepted at `now`.
    #[must_use]
    pub fn from_parts(now: UnixMillis, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id of the job's first attempt at ComfyUI.
    #[must_use]
    pub fn first_attempt(self) -> AttemptId {
        AttemptId(self.0)
    }
}

/// The name of a backend, as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendName(std::sync::Arc<str>);

impl BackendName {
    /// Parses a name of 1 to 64 letters, digits, `.`, `_` and `-`.
    ///
    /// # Errors
    /// [`InvalidId`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("a backend name has 1 to 64 letters, digits, `.`, `_` or `-`"))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for BackendName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_id_is_read_in_either_case_and_shown_in_lowercase() {
        let id = PromptId::parse("0198C1C2-7D1E-7ABC-8DEF-0123456789AB").unwrap();
        assert_eq!(id.to_string(), "0198c1c2-7d1e-7abc-8def-0123456789ab");
        assert_eq!(id.first_attempt().to_string(), id.to_string());
    }

    #[test]
    fn what_is_no_hyphenated_uuid_is_refused() {
        for text in [
            "",
            "x",
            "0198c1c27d1e7abc8def0123456789ab",
            "{0198c1c2-7d1e-7abc-8def-0123456789ab}",
            "../../etc/passwd",
        ] {
            assert!(PromptId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let early = PromptId::from_parts(UnixMillis::from_millis(1_000), [255; 10]);
        let late = PromptId::from_parts(UnixMillis::from_millis(1_001), [0; 10]);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn backend_names_are_plain_words() {
        assert_eq!(BackendName::parse("gpu-1").unwrap().as_str(), "gpu-1");
        for text in ["", "a b", "gpu/1", "ü", &"x".repeat(65)] {
            assert!(BackendName::parse(text).is_err(), "{text}");
        }
    }
}
