//! The mode that an operator sets for a backend.

/// Whether an operator allows a backend to take work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendMode {
    /// It gets work.
    #[default]
    Open,
    /// It gets no new work and keeps the jobs that it has.
    Cordoned,
    /// It gets no new work, finishes what runs, and returns the jobs that only wait in its queue.
    Draining,
}

impl BackendMode {
    /// The mode's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }

    /// The mode of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Open, Self::Cordoned, Self::Draining].into_iter().find(|mode| mode.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_named() {
        for mode in [BackendMode::Open, BackendMode::Cordoned, BackendMode::Draining] {
            assert_eq!(BackendMode::parse(mode.as_str()), Some(mode));
        }
        assert_eq!((BackendMode::parse("shut"), BackendMode::default()), (None, BackendMode::Open));
    }
}
