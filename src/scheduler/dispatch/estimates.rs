//! Run times of earlier runs by the shape of their workflow, and estimates for the next runs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::domain::needs::JobNeeds;
use crate::domain::time::UnixMillis;
use crate::store::ShapeRecord;

/// What an attempt teaches about run times and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunObservation {
    /// The run executed to its end within this time.
    Took(Duration),
    /// The run ran out of memory.
    OutOfMemory,
    /// Nothing.
    Nothing,
}

/// The most shapes remembered; the least recently used are evicted first.
pub const KEPT_SHAPES: u32 = 4_096;
/// The weight of the latest run against all before it.
const WEIGHT: f64 = 0.3;

/// The estimates for one shape.
#[derive(Debug, Clone, Default)]
struct ShapeEstimate {
    warm: Option<f64>,
    cold: Option<f64>,
    oom_vram: Option<u64>,
    used_at: Option<UnixMillis>,
}

/// Estimates by shape and by model family, in milliseconds of execution.
#[derive(Debug, Clone, Default)]
pub struct RunEstimates {
    known: HashMap<String, ShapeEstimate>,
    overall: Option<f64>,
    changed: HashSet<String>,
}

impl RunEstimates {
    /// Estimates from the records of earlier processes.
    #[must_use]
    pub fn from_records(records: Vec<ShapeRecord>) -> Self {
        let mut times = Self::default();
        for record in records {
            let known = ShapeEstimate {
                warm: record.warm_ms.map(to_float),
                cold: record.cold_ms.map(to_float),
                oom_vram: record.oom_vram.and_then(|bytes| u64::try_from(bytes).ok()),
                used_at: Some(record.used_at),
            };
            times.known.insert(record.shape, known);
        }
        times
    }

    /// The estimated execution time, with the models loaded before or not; `None` if nothing like it has run.
    #[must_use]
    pub fn estimate(&self, needs: &JobNeeds, cold: bool) -> Option<Duration> {
        let known = self.nearest(needs, |known| known.warm.is_some() || known.cold.is_some())?;
        let millis = if cold { known.cold.or(known.warm) } else { known.warm.or(known.cold) };
        millis.map(to_duration)
    }

    /// The cost of a run, which is the average if nothing like it has run.
    #[must_use]
    pub fn estimate_any(&self, needs: &JobNeeds) -> Duration {
        let millis = self.overall.unwrap_or(1_000.0);
        self.estimate(needs, false).unwrap_or_else(|| to_duration(millis))
    }

    /// How much longer a run takes that loads its models first; `None` until both kinds were seen.
    #[must_use]
    pub fn load_time(&self, needs: &JobNeeds) -> Option<Duration> {
        if needs.models.is_empty() {
            return Some(Duration::ZERO);
        }
        let known = self.nearest(needs, |known| known.warm.is_some() && known.cold.is_some())?;
        Some(to_duration((known.cold? - known.warm?).max(0.0)))
    }

    /// The largest device memory, in bytes, on which such a run ran out of memory.
    #[must_use]
    pub fn insufficient_vram(&self, needs: &JobNeeds) -> Option<u64> {
        self.known.get(&needs.shape)?.oom_vram
    }

    /// Records a run that completed.
    pub fn record_run(&mut self, needs: &JobNeeds, cold: bool, took: Duration, now: UnixMillis) {
        let millis = took.as_secs_f64() * 1_000.0;
        self.overall = Some(blend(self.overall, millis));
        self.update_all(needs, now, |known| {
            let kind = if cold { &mut known.cold } else { &mut known.warm };
            *kind = Some(blend(*kind, millis));
        });
    }

    /// Records a run that ran out of memory on a device with `vram` bytes. Returns whether that is news.
    pub fn record_out_of_memory(&mut self, needs: &JobNeeds, vram: u64, now: UnixMillis) -> bool {
        let before = self.insufficient_vram(needs);
        if before >= Some(vram) {
            return false;
        }
        self.update(&needs.shape, now, |known| known.oom_vram = Some(vram));
        true
    }

    /// The estimates that changed since the last call.
    #[must_use]
    pub fn take_changed(&mut self) -> Vec<ShapeRecord> {
        let changed = std::mem::take(&mut self.changed);
        let record = |shape: String| {
            let known = self.known.get(&shape)?;
            Some(ShapeRecord {
                warm_ms: known.warm.map(to_millis),
                cold_ms: known.cold.map(to_millis),
                oom_vram: known.oom_vram.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                used_at: known.used_at?,
                shape,
            })
        };
        changed.into_iter().filter_map(record).collect()
    }

    fn nearest(&self, needs: &JobNeeds, good: impl Fn(&ShapeEstimate) -> bool) -> Option<&ShapeEstimate> {
        [&needs.shape, &needs.family]
            .into_iter()
            .find_map(|key| self.known.get(key).filter(|known| good(known)))
    }

    fn update_all(&mut self, needs: &JobNeeds, now: UnixMillis, change: impl Fn(&mut ShapeEstimate)) {
        self.update(&needs.shape, now, &change);
        if needs.family != needs.shape {
            self.update(&needs.family, now, &change);
        }
    }

    fn update(&mut self, key: &str, now: UnixMillis, change: impl FnOnce(&mut ShapeEstimate)) {
        // Jobs of versions that recorded no shape have none.
        if key.is_empty() {
            return;
        }
        let known = self.known.entry(key.to_owned()).or_default();
        change(known);
        known.used_at = Some(now);
        self.changed.insert(key.to_owned());
        if self.known.len() > KEPT_SHAPES as usize {
            self.evict_oldest();
        }
    }

    /// Evicts the least recently used eighth, so that eviction is rare.
    fn evict_oldest(&mut self) {
        let mut ages: Vec<_> = self.known.values().filter_map(|known| known.used_at).collect();
        ages.sort_unstable();
        let Some(&oldest) = ages.get(ages.len() / 8) else { return };
        self.known.retain(|_, known| known.used_at > Some(oldest));
        self.changed.retain(|shape| self.known.contains_key(shape));
    }
}

fn blend(before: Option<f64>, latest: f64) -> f64 {
    before.map_or(latest, |before| before + WEIGHT * (latest - before))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^53")]
const fn to_float(millis: i64) -> f64 {
    millis as f64
}

#[expect(clippy::cast_possible_truncation, reason = "rounded milliseconds of a run")]
fn to_millis(millis: f64) -> i64 {
    millis.round() as i64
}

fn to_duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(shape: &str, family: &str) -> JobNeeds {
        JobNeeds {
            shape: shape.to_owned(),
            family: family.to_owned(),
            models: vec!["m".to_owned()],
            ..JobNeeds::default()
        }
    }

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_shape_is_gone_by_first_then_its_family_then_nothing() {
        let mut times = RunEstimates::default();
        times.record_run(&needs("a", "f"), false, SECOND, at(1));
        times.record_run(&needs("b", "f"), false, 3 * SECOND, at(2));
        assert_eq!(times.estimate(&needs("a", "f"), false), Some(SECOND));
        let family = times.estimate(&needs("c", "f"), false).unwrap();
        assert!(family > SECOND && family < 3 * SECOND, "{family:?}");
        assert_eq!(times.estimate(&needs("c", "g"), false), None);
        assert!(times.estimate_any(&needs("c", "g")) > SECOND);
    }

    #[test]
    fn loading_is_what_cold_runs_take_longer() {
        let mut times = RunEstimates::default();
        let job = needs("a", "f");
        times.record_run(&job, true, 6 * SECOND, at(1));
        assert_eq!((times.load_time(&job), times.estimate(&job, false)), (None, Some(6 * SECOND)));
        times.record_run(&job, false, SECOND, at(2));
        assert_eq!((times.load_time(&job), times.estimate(&job, true)), (Some(5 * SECOND), Some(6 * SECOND)));
        let without_models = JobNeeds { models: vec![], ..needs("z", "z") };
        assert_eq!(times.load_time(&without_models), Some(Duration::ZERO));
    }

    #[test]
    fn only_more_memory_than_was_too_little_is_news() {
        let mut times = RunEstimates::default();
        let job = needs("a", "f");
        assert!(times.record_out_of_memory(&job, 8, at(1)));
        assert!(!times.record_out_of_memory(&job, 6, at(2)));
        assert!(times.record_out_of_memory(&job, 12, at(3)));
        assert_eq!(times.insufficient_vram(&job), Some(12));
        assert_eq!(times.insufficient_vram(&needs("b", "f")), None);
    }

    #[test]
    fn what_was_learned_is_told_once_and_known_again_after_a_restart() {
        let mut times = RunEstimates::default();
        times.record_run(&needs("a", "f"), false, SECOND, at(1));
        times.record_out_of_memory(&needs("a", "f"), 8, at(2));
        let kept = times.take_changed();
        assert_eq!(kept.len(), 2);
        assert!(times.take_changed().is_empty());
        let again = RunEstimates::from_records(kept);
        assert_eq!(again.estimate(&needs("a", "f"), false), Some(SECOND));
        assert_eq!(again.insufficient_vram(&needs("a", "f")), Some(8));
    }

    #[test]
    fn no_more_shapes_are_kept_than_there_is_room_for() {
        let mut times = RunEstimates::default();
        for n in 0..6_000 {
            times.record_run(&needs(&n.to_string(), "f"), false, SECOND, at(n));
        }
        assert!(times.known.len() <= KEPT_SHAPES as usize);
        assert!(times.estimate(&needs("5999", "x"), false).is_some());
        assert!(times.estimate(&needs("0", "x"), false).is_none());
        times.record_run(&needs("", ""), false, SECOND, at(9_000));
        assert!(!times.known.contains_key(""));
    }
}
