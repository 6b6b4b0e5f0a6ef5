//! The seeded schedule: when a fault occurs, which one, and when it is repaired.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::server::Server;
use crate::trouble::{Trouble, deck};

/// The longest wait for a moment, which may never come while everything is broken.
const MOMENT: Duration = Duration::from_millis(1_500);

/// When the next fault occurs.
#[derive(Debug)]
enum Moment {
    /// After this many more accepted jobs.
    Accepted(usize),
    /// After this many more requests on a route of a backend, or runs begun or ended there.
    Seen { server: usize, what: String },
    /// At once, while the last fault still has effects.
    Now,
}

impl Moment {
    fn draw(random: &mut StdRng, server: usize) -> Self {
        let mut seen = |what: &str, most: u32| {
            let count = random.random_range(1..=most);
            Self::Seen { server, what: format!("{what}{count}") }
        };
        let moments = [
            seen("route=prompt&more=", 5),
            seen("route=history&more=", 8),
            seen("route=view&more=", 4),
            seen("started=", 4),
            seen("ended=", 4),
            Self::Now,
        ];
        let pick = random.random_range(0..moments.len() + 2);
        moments.into_iter().nth(pick).unwrap_or_else(|| Self::Accepted(random.random_range(1..15)))
    }

    async fn comes(&self, servers: &[Server], count: &watch::Sender<usize>) {
        match self {
            Self::Now => {}
            Self::Accepted(more) => {
                let target = *count.borrow() + more;
                drop(count.subscribe().wait_for(|count| *count >= target).await);
            }
            Self::Seen { server, what } => drop(servers[*server].until(what).await),
        }
    }
}

/// The scripted faults, and those that are not repaired yet.
pub struct Schedule {
    random: StdRng,
    /// The faults that are still to come before all of them come again.
    deck: Vec<Trouble>,
    open: VecDeque<Trouble>,
    pub struck: usize,
}

impl Schedule {
    pub fn new(random: StdRng) -> Self {
        Self { random, deck: Vec::new(), open: VecDeque::new(), struck: 0 }
    }

    /// Waits for a moment and causes one fault. Repairs the oldest fault if there are enough.
    pub async fn step(
        &mut self,
        gateway: &mut Gateway,
        servers: &mut [Server],
        count: &watch::Sender<usize>,
    ) {
        let well = self.well(servers.len());
        let server = self.pick(&well);
        let moment = Moment::draw(&mut self.random, server);
        let came = tokio::time::timeout(MOMENT, moment.comes(servers, count)).await.is_ok();
        let most = self.random.random_range(1..3);
        while self.open.len() > most {
            self.mend_one(gateway, servers).await;
        }
        let well = self.well(servers.len());
        let server = self.pick(&well);
        let trouble = self.next().aimed(server);
        self.struck += 1;
        println!("{:4} {moment:?}{}: {trouble:?}", self.struck, if came { "" } else { " did not come" });
        trouble.strike(gateway, servers).await;
        if trouble.lasts() {
            self.open.push_back(trouble);
        }
    }

    /// Every fault of the deck comes once before any comes again.
    fn next(&mut self) -> Trouble {
        if self.deck.is_empty() {
            self.deck = deck();
            self.deck.shuffle(&mut self.random);
        }
        self.deck.pop().unwrap()
    }

    /// Repairs everything that is left.
    pub async fn mend(&mut self, gateway: &Gateway, servers: &mut [Server]) {
        while !self.open.is_empty() {
            self.mend_one(gateway, servers).await;
        }
    }

    async fn mend_one(&mut self, gateway: &Gateway, servers: &mut [Server]) {
        if let Some(trouble) = self.open.pop_front() {
            trouble.mend(gateway, servers).await;
        }
    }

    /// The backends without a fault. There is always one, because at most three of four have faults.
    fn well(&self, servers: usize) -> Vec<usize> {
        (0..servers).filter(|server| self.open.iter().all(|open| open.server() != Some(*server))).collect()
    }

    fn pick(&mut self, well: &[usize]) -> usize {
        well[self.random.random_range(0..well.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn drawn(seed: u64) -> Vec<String> {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        (0..deck().len()).map(|_| format!("{:?}", schedule.next())).collect()
    }

    #[test]
    fn a_seed_means_one_schedule_and_each_has_all_kinds_of_trouble() {
        assert_eq!(drawn(5), drawn(5));
        let (mut one, mut other) = (drawn(5), drawn(6));
        assert_ne!(one, other);
        one.sort();
        other.sort();
        assert_eq!(one, other);
        let names: std::collections::BTreeSet<&str> =
            one.iter().filter_map(|trouble| trouble.split([' ', '(']).next()).collect();
        assert_eq!(names.len(), 10, "{names:?}");
    }

    #[test]
    fn a_server_in_trouble_gets_no_more_until_it_is_mended() {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(1));
        schedule.open.extend([Trouble::Kill(0), Trouble::FullDisk { room: 0 }, Trouble::Freeze(2)]);
        let well = schedule.well(4);
        assert_eq!(well, [1, 3]);
        assert!((0..50).all(|_| well.contains(&schedule.pick(&well))));
        assert_eq!(Trouble::Freeze(0).aimed(3).server(), Some(3));
    }
}
