//! The dispatcher's decisions as a pure machine: no I/O, no clock, no randomness.
//! It hands out slots; which job fills one is the store's order of claiming.

/// A server's position in the pool.
pub(super) type BackendIndex = usize;

/// What the dispatcher learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// There may be jobs to claim.
    Work,
    /// The slots that each server offers now and the length of its own queue, by position; new servers stand last.
    Pool(Vec<(usize, u64)>),
    /// An attempt of an earlier process goes on at that server.
    Adopted(BackendIndex),
    /// A claim was answered: each slot that was asked for, and whether it has a job.
    Claimed(Vec<(BackendIndex, bool)>),
    /// An attempt at that server ended.
    Ended(BackendIndex),
}

/// What the dispatcher does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Action {
    /// Claim a job for each of these slots, in this order.
    Claim(Vec<BackendIndex>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    slots: usize,
    taken: usize,
    queue_remaining: u64,
}

/// What the dispatcher knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    backends: Vec<Server>,
    /// Whether jobs may be queued that no free slot has asked for yet.
    maybe_work: bool,
    /// Whether a claim is on its way: the next one waits for its answer.
    claiming: bool,
}

impl State {
    /// No server is known to be usable yet.
    pub fn new(servers: usize) -> Self {
        let server = Server { slots: 0, taken: 0, queue_remaining: 0 };
        Self { backends: vec![server; servers], maybe_work: true, claiming: false }
    }

    /// The free slots of usable servers, the least loaded server's first, one of each in turn.
    fn free_slots(&self) -> Vec<BackendIndex> {
        let mut free: Vec<(usize, u64, BackendIndex)> = Vec::new();
        for (index, backend) in self.backends.iter().enumerate() {
            free.extend((backend.taken..backend.slots).map(|load| (load, backend.queue_remaining, index)));
        }
        free.sort_unstable();
        free.into_iter().map(|(_, _, index)| index).collect()
    }
}

/// Takes one event in and says what to do.
pub(super) fn handle(state: &mut State, event: Event) -> Vec<Action> {
    match event {
        Event::Work => state.maybe_work = true,
        Event::Pool(servers) => {
            state.backends.resize(servers.len(), Server { slots: 0, taken: 0, queue_remaining: 0 });
            for (backend, (slots, queue_remaining)) in state.backends.iter_mut().zip(servers) {
                // A server that comes back may be the one that jobs wait for.
                state.maybe_work |= slots > backend.slots;
                backend.slots = slots;
                backend.queue_remaining = queue_remaining;
            }
        }
        Event::Adopted(index) => {
            let known = state.backends.len().max(index + 1);
            state.backends.resize(known, Server { slots: 0, taken: 0, queue_remaining: 0 });
            state.backends[index].taken += 1;
        }
        Event::Claimed(slots) => {
            state.claiming = false;
            // A slot without a job: the queue has none for that server, until more work is told of.
            state.maybe_work |= slots.iter().all(|(_, filled)| *filled);
            for (index, _) in slots.into_iter().filter(|(_, filled)| !filled) {
                state.backends[index].taken -= 1;
            }
        }
        Event::Ended(index) => {
            state.backends[index].taken -= 1;
            state.maybe_work = true;
        }
    }
    if state.claiming || !state.maybe_work {
        return Vec::new();
    }
    let slots = state.free_slots();
    if slots.is_empty() {
        return Vec::new();
    }
    state.claiming = true;
    state.maybe_work = false;
    for &index in &slots {
        state.backends[index].taken += 1;
    }
    vec![Action::Claim(slots)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn up(slots: &[usize]) -> Event {
        Event::Pool(slots.iter().map(|&slots| (slots, 0)).collect())
    }

    #[test]
    fn slots_are_asked_for_the_least_loaded_server_first() {
        let mut state = State::new(3);
        assert_eq!(handle(&mut state, Event::Work), []);
        handle(&mut state, Event::Adopted(0)).clear();
        let claims = handle(&mut state, Event::Pool(vec![(2, 0), (2, 5), (1, 1)]));
        assert_eq!(claims, [Action::Claim(vec![2, 1, 0, 1])]);
    }

    #[test]
    fn unfilled_slots_are_free_again_and_wait_for_a_wakeup() {
        let mut state = State::new(1);
        assert_eq!(handle(&mut state, up(&[2])), [Action::Claim(vec![0, 0])]);
        assert_eq!(handle(&mut state, Event::Claimed(vec![(0, true), (0, false)])), []);
        assert_eq!(handle(&mut state, Event::Work), [Action::Claim(vec![0])]);
    }

    #[test]
    fn work_that_comes_during_a_claim_is_claimed_after_it() {
        let mut state = State::new(0);
        assert_eq!(handle(&mut state, up(&[1, 1])), [Action::Claim(vec![0, 1])]);
        assert_eq!(handle(&mut state, Event::Work), []);
        assert_eq!(
            handle(&mut state, Event::Claimed(vec![(0, false), (1, false)])),
            [Action::Claim(vec![0, 1])]
        );
    }

    #[test]
    fn a_server_that_is_down_is_not_asked_for_and_is_when_it_comes_back() {
        let mut state = State::new(1);
        assert_eq!(handle(&mut state, Event::Pool(vec![(0, 0)])), []);
        assert_eq!(handle(&mut state, up(&[1])), [Action::Claim(vec![0])]);
        assert_eq!(handle(&mut state, Event::Claimed(vec![(0, true)])), []);
        assert_eq!(handle(&mut state, Event::Ended(0)), [Action::Claim(vec![0])]);
    }

    proptest! {
        /// With any number of queued jobs, servers that come and go, and ends in any order: no slot is lost, none is
        /// given twice, and no slot of a usable server stays free while jobs are queued and known of.
        #[test]
        fn no_slot_leaks_and_none_idles(
            slots in prop::collection::vec(1usize..4, 1..4),
            steps in prop::collection::vec((0u8..4, 0usize..4), 1..120),
        ) {
            let mut state = State::new(slots.len());
            let mut running = vec![0usize; slots.len()];
            let mut usable = vec![false; slots.len()];
            let mut queued = 0usize;
            for (kind, which) in steps {
                let which = which % slots.len();
                let event = match kind {
                    0 => { queued += 1; Event::Work }
                    1 => {
                        usable[which] = !usable[which];
                        let offered = slots.iter().zip(&usable).map(|(&slots, &usable)| if usable { slots } else { 0 });
                        Event::Pool(offered.map(|slots| (slots, 0)).collect())
                    }
                    2 if running[which] > 0 => { running[which] -= 1; Event::Ended(which) }
                    _ => Event::Work,
                };
                let mut actions = handle(&mut state, event);
                while let Some(Action::Claim(asked)) = actions.pop() {
                    let mut slots = Vec::new();
                    for index in asked {
                        let filled = queued > 0;
                        queued -= usize::from(filled);
                        running[index] += usize::from(filled);
                        slots.push((index, filled));
                    }
                    actions.extend(handle(&mut state, Event::Claimed(slots)));
                }
                for index in 0..slots.len() {
                    prop_assert_eq!(state.backends[index].taken, running[index]);
                    prop_assert!(running[index] <= slots[index]);
                    prop_assert!(!(usable[index] && queued > 0 && running[index] < slots[index]));
                }
            }
        }
    }
}
