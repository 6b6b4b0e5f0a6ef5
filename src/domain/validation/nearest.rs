//! Names that may have been meant.

/// The most names that are suggested.
const MOST: usize = 3;
/// The least similarity of a suggested name, from 0 to 1.
const LEAST: f64 = 0.72;
/// Longer names, in bytes, are not compared with others.
const COMPARED: usize = 200;
/// The most searches for one workflow, because each looks at a whole list.
const SEARCHES: usize = 64;

/// The searches for one workflow.
#[derive(Debug, Default)]
pub(super) struct NearestNames {
    searches: usize,
}

impl NearestNames {
    /// The most similar of `names`, best first; empty once too many searches were made.
    pub fn of<'a>(&mut self, wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        self.searches += 1;
        if self.searches > SEARCHES || wanted.len() > COMPARED {
            return Vec::new();
        }
        let wanted = wanted.to_lowercase();
        let mut best: Vec<(f64, &str)> = Vec::with_capacity(MOST + 1);
        for name in names {
            let likeness = likeness(&wanted, &name.to_lowercase());
            if likeness < LEAST {
                continue;
            }
            let at = best.partition_point(|(known, _)| *known >= likeness);
            best.insert(at, (likeness, name));
            best.truncate(MOST);
        }
        best.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

/// The same file in another folder is most likely the one that was meant.
fn likeness(wanted: &str, name: &str) -> f64 {
    let last = |path: &'_ str| path.rfind(['/', '\\']).map_or(0, |at| at + 1);
    let ends = strsim::jaro_winkler(&wanted[last(wanted)..], &name[last(name)..]);
    ends.max(strsim::jaro_winkler(wanted, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_strangers_not_at_all() {
        let names =
            ["sdxl.safetensors", "FLUX/flux1-dev.safetensors", "flux1-schnell.safetensors", "ae.sft", "zz"];
        let found = NearestNames::default().of("flux1-dev.safetensors", names.into_iter());
        assert_eq!(found[..2], ["FLUX/flux1-dev.safetensors", "flux1-schnell.safetensors"]);
        assert!(NearestNames::default().of("euler", ["dpmpp_2m", "heun"].into_iter()).is_empty());
        assert!(NearestNames::default().of("", [].into_iter()).is_empty());
    }

    #[test]
    fn one_workflow_may_not_search_without_end() {
        let mut nearest = NearestNames::default();
        let found = (0..100).filter(|_| !nearest.of("euler", ["euler_a"].into_iter()).is_empty()).count();
        assert_eq!(found, SEARCHES);
    }
}
