//! The names of registered workflows and of their versions.

use std::fmt;

use super::id::InvalidId;

/// The name of a registered workflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowName(String);

impl WorkflowName {
    /// Parses a name of 1 to 64 letters, digits, `.`, `_` and `-` that begins with a letter or digit.
    ///
    /// # Errors
    /// [`InvalidId`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId(
                "a workflow's name has 1 to 64 letters, digits, `.`, `_` or `-` and begins with a letter or digit",
            ))
        }
    }

    /// The workflow name for a file name: its stem, with `-` for every character that is not allowed.
    #[must_use]
    pub fn of_file(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".json")?;
        let plain: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .take(64)
            .collect();
        Self::parse(plain.trim_start_matches(['.', '_', '-'])).ok()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registered workflow: its newest version, or a given one, as in `portrait@3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRef {
    /// Its name.
    pub name: WorkflowName,
    /// The version, from 1; the newest, if `None`.
    pub version: Option<u32>,
}

impl WorkflowRef {
    /// Parses `name` or `name@version`.
    ///
    /// # Errors
    /// [`InvalidId`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let (name, version) =
            match text.split_once('@') {
                None => (text, None),
                Some((name, version)) => {
                    let version = version.parse().ok().filter(|version| *version > 0);
                    (
                        name,
                        Some(version.ok_or(InvalidId(
                            "a workflow's version is a whole number from 1, as in name@3",
                        ))?),
                    )
                }
            };
        Ok(Self { name: WorkflowName::parse(name)?, version })
    }
}

impl fmt::Display for WorkflowRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_and_without_a_version() {
        let read = |text| WorkflowRef::parse(text).map(|found| (found.to_string(), found.version));
        assert_eq!(read("portrait"), Ok(("portrait".to_owned(), None)));
        assert_eq!(read("a.b_c-9@12"), Ok(("a.b_c-9@12".to_owned(), Some(12))));
        for text in [
            "",
            "a b",
            "é",
            "@1",
            "a@",
            "a@0",
            "a@-1",
            "a@x",
            "a@1@2",
            ".hidden",
            "-x",
            "a/b",
            &"x".repeat(65),
        ] {
            assert!(WorkflowRef::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_gives_its_name() {
        let of = |file| WorkflowName::of_file(file).map(|name| name.to_string());
        assert_eq!(of("portrait.json").as_deref(), Some("portrait"));
        assert_eq!(of("My workflow (2).json").as_deref(), Some("My-workflow--2-"));
        assert_eq!(of("日本.json"), None);
        for file in ["portrait.png", ".json", "portrait"] {
            assert_eq!(of(file), None, "{file}");
        }
    }
}
