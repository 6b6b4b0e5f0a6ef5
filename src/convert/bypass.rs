//! Chooses which of its inputs a bypassed node passes on.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

use super::slots::InputSlot;

/// The input that a bypassed node passes on at its output `at` of type `output`, to an input of type
/// `wanted`.
pub(super) fn handed_on(slots: &[InputSlot<'_>], at: usize, output: &str, wanted: &str) -> Option<usize> {
    if slots.is_empty() {
        return None;
    }
    if is_any(wanted) {
        return Some(if at < slots.len() { at } else { 0 });
    }
    let fits = |slot: &InputSlot<'_>| {
        is_compatible(&slot.type_name, output) && is_compatible(&slot.type_name, wanted)
    };
    if slots.get(at).is_some_and(fits) {
        return Some(at);
    }
    slots.iter().position(|slot| slot.type_name == wanted).or_else(|| slots.iter().position(fits))
}

fn is_any(type_name: &str) -> bool {
    type_name.is_empty() || type_name == "*"
}

/// Whether an output of one type may feed an input of another: equal ignoring case, any type, or a common
/// name.
fn is_compatible(one: &str, other: &str) -> bool {
    is_any(one)
        || is_any(other)
        || one
            .split(',')
            .any(|one| other.split(',').any(|other| one.trim().eq_ignore_ascii_case(other.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(types: &[&'static str], at: usize, output: &str, wanted: &str) -> Option<usize> {
        let slot = |type_name: &&'static str| InputSlot { name: "x".into(), type_name: (*type_name).into() };
        let slots: Vec<_> = types.iter().map(slot).collect();
        handed_on(&slots, at, output, wanted)
    }

    #[test]
    fn a_bypassed_node_hands_on_the_input_that_fits_best() {
        assert_eq!(on(&["MODEL", "CLIP"], 0, "MODEL", "MODEL"), Some(0));
        assert_eq!(on(&["MODEL", "CLIP"], 1, "CLIP", "CLIP"), Some(1));
        assert_eq!(on(&["CLIP", "MODEL"], 0, "MODEL", "MODEL"), Some(1));
        assert_eq!(on(&["MASK", "IMAGE", "IMAGE"], 0, "IMAGE", "IMAGE"), Some(1));
        assert_eq!(on(&["MASK"], 0, "IMAGE", "IMAGE"), None);
        assert_eq!(on(&[], 0, "IMAGE", "*"), None);
    }

    #[test]
    fn to_whom_anything_is_welcome_the_same_slot_is_given() {
        assert_eq!(on(&["MASK", "IMAGE"], 1, "IMAGE", "*"), Some(1));
        assert_eq!(on(&["MASK", "IMAGE"], 5, "IMAGE", ""), Some(0));
    }

    #[test]
    fn types_fit_with_a_name_in_common() {
        assert_eq!(on(&["IMAGE,MASK"], 0, "*", "MASK"), Some(0));
        assert_eq!(on(&["image"], 0, "IMAGE", "IMAGE"), Some(0));
        assert_eq!(on(&["INT", "FLOAT,INT"], 1, "FLOAT", "FLOAT,STRING"), Some(1));
        assert_eq!(on(&["X", "*"], 0, "IMAGE", "IMAGE"), Some(1));
        // An exact match goes before what is merely compatible.
        assert_eq!(on(&["X", "*", "IMAGE"], 0, "IMAGE", "IMAGE"), Some(2));
    }
}
