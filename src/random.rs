//! The one source of randomness: ids, seeds and jitter.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::domain::id::{AttemptId, FileId, GatewayId, LeaseOwner, PromptId};
use crate::domain::time::UnixMillis;
use crate::lock::LockExt;

/// A seedable source of random values, shared by reference.
#[derive(Debug)]
pub struct Random(Mutex<StdRng>);

impl Random {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self(Mutex::new(rand::make_rng()))
    }

    /// A source that repeats the same values for the same `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock_anyway().fill_bytes(&mut bytes);
        bytes
    }

    /// A new job's id.
    #[must_use]
    pub fn prompt_id(&self, now: UnixMillis) -> PromptId {
        PromptId::from_parts(now, self.bytes())
    }

    /// A later attempt's id.
    #[must_use]
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId::from_random(self.bytes())
    }

    /// An uploaded file's id. It is unguessable, because knowing it is enough to use the file.
    #[must_use]
    pub fn file_id(&self) -> FileId {
        FileId::from_random(self.bytes())
    }

    /// This process's id as an owner of leases.
    #[must_use]
    pub fn lease_owner(&self) -> LeaseOwner {
        LeaseOwner::from_random(self.bytes())
    }

    /// A new database's gateway id.
    #[must_use]
    pub fn gateway_id(&self) -> GatewayId {
        GatewayId::from_random(self.bytes())
    }

    /// A seed for a sampler: 1 to 2^63 - 1.
    #[must_use]
    pub fn seed(&self) -> u64 {
        (u64::from_le_bytes(self.bytes()) >> 1).max(1)
    }

    /// A fraction from 0 (included) to 1 (excluded), for jitter.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.0.lock_anyway().random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_values_and_another_gives_others() {
        let now = UnixMillis::from_millis(1);
        assert_eq!(Random::seeded(1).prompt_id(now), Random::seeded(1).prompt_id(now));
        assert_ne!(Random::seeded(1).prompt_id(now), Random::seeded(2).prompt_id(now));
        assert_ne!(Random::from_os().attempt_id(), Random::from_os().attempt_id());
    }

    #[test]
    fn seeds_and_fractions_stay_in_their_ranges() {
        let random = Random::seeded(7);
        for _ in 0..1_000 {
            assert!((1..1 << 63).contains(&random.seed()));
            assert!((0.0..1.0).contains(&random.fraction()));
        }
    }
}
