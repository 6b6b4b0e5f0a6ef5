//! Lists that one request could make endless: the first entries are kept, the others are only counted.

use std::ops::Deref;

/// Entries that are kept.
pub const MOST_TOLD: usize = 100;

/// A list that keeps at most [`MOST_TOLD`] entries and counts the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CappedList<T> {
    told: Vec<T>,
    more: usize,
}

impl<T> CappedList<T> {
    /// Adds an entry, or counts it.
    pub fn push(&mut self, entry: T) {
        self.push_with(|| entry);
    }

    /// Adds an entry that is made only if it is kept.
    pub fn push_with(&mut self, make: impl FnOnce() -> T) {
        if self.told.len() < MOST_TOLD {
            self.told.push(make());
        } else {
            self.more += 1;
        }
    }

    /// Adds all entries of another list, and its count of others.
    pub fn append(&mut self, other: Self) {
        let more = other.more;
        other.told.into_iter().for_each(|entry| self.push(entry));
        self.more += more;
    }

    /// Counts further entries that are not known.
    pub const fn count_more(&mut self, more: usize) {
        self.more += more;
    }

    /// The number of entries that were only counted.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    /// The number of all entries.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.told.len() + self.more
    }

    /// The same list with each entry made into another.
    #[must_use]
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> CappedList<U> {
        CappedList { told: self.told.into_iter().map(change).collect(), more: self.more }
    }
}

impl<T> Default for CappedList<T> {
    fn default() -> Self {
        Self { told: Vec::new(), more: 0 }
    }
}

impl<T> Deref for CappedList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.told
    }
}

impl<T> From<T> for CappedList<T> {
    fn from(entry: T) -> Self {
        Self { told: vec![entry], more: 0 }
    }
}

impl<T> Extend<T> for CappedList<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }
}

impl<T> FromIterator<T> for CappedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut list = Self::default();
        list.extend(entries);
        list
    }
}

impl<T> IntoIterator for CappedList<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    /// The entries that were kept.
    fn into_iter(self) -> Self::IntoIter {
        self.told.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_cap_is_counted_and_never_made() {
        let mut list: CappedList<usize> = (0..MOST_TOLD - 1).collect();
        let mut made = 0;
        for n in 0..5 {
            list.push_with(|| {
                made += 1;
                n
            });
        }
        assert_eq!((list.len(), list.more(), list.total(), made), (MOST_TOLD, 4, MOST_TOLD + 4, 1));
        let mut twice = list.clone().map(|n| n.to_string());
        twice.append(list.map(|n| n.to_string()));
        assert_eq!((twice.len(), twice.total()), (MOST_TOLD, 2 * (MOST_TOLD + 4)));
    }
}
