//! Replaces the values of a node's linked inputs by their links.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::emit::{GraphEmitter, push_string};
use super::resolve::{BrokenLink, InputSource};
use super::slots;

impl<'c: 'd, 'd> GraphEmitter<'_, '_, 'd, 'c, '_> {
    /// Puts the links of a node over its values.
    pub(super) fn links(&mut self, frame: usize, at: usize, inputs: &mut IndexMap<String, String>) {
        let node = &self.resolver.graph(frame).nodes[at];
        let mut seen = HashSet::new();
        for slot in &node.inputs {
            let Some(link) = slot.link.as_deref() else { continue };
            if !seen.insert(&slot.name) {
                continue;
            }
            let Some(fields) = &self.resolver.known(frame, at).fields else { return };
            let spec = fields.widget(&slot.name).map(|widget| widget.spec);
            let wanted = match spec {
                Some(spec) => spec.map_or("*", slots::type_of).to_owned(),
                None => match slots::socket_type(fields, &slot.name) {
                    Some(wanted) => wanted.to_owned(),
                    // A field that the class no longer has is dropped; an input without a field keeps its
                    // link.
                    None if slot.is_widget => continue,
                    None => slot.type_name.to_string(),
                },
            };
            if !self.resolver.graph(frame).links.contains_key(link) {
                let place = self.place(frame, at);
                let message = format!(
                    "input {:?} names link {link}, which is not in the file: taken as not linked",
                    slot.name
                );
                self.report.warn_at(place, message);
            }
            match self.resolver.follow(frame, link, &wanted) {
                Ok(InputSource::Nothing) => {}
                Ok(InputSource::Node { id, slot: output }) => {
                    let mut json = String::from("[");
                    push_string(&mut json, &id);
                    json.push(',');
                    json.push_str(&output.to_string());
                    json.push(']');
                    inputs.insert(slot.name.to_string(), json);
                }
                Ok(InputSource::Value(value)) => {
                    if let Some(class) = self.resolver.known(frame, at).class {
                        let value = self.finished(class, &slot.name, spec.flatten(), value);
                        inputs.insert(slot.name.to_string(), value);
                    }
                }
                Err(broken) => {
                    let place = self.place(frame, at);
                    self.report.fault_at(place, describe(&slot.name, &broken));
                }
            }
        }
    }
}

fn describe(input: &str, broken: &BrokenLink) -> String {
    match broken {
        BrokenLink::NoNode(id) => format!("input {input:?} is linked to node {id}, which is not in the file"),
        BrokenLink::NoSlot(id) => {
            format!("the link from node {id} to input {input:?} does not say which output it is from")
        }
        BrokenLink::Circle => {
            format!("the link to input {input:?} comes back to itself through reroutes or bypassed nodes")
        }
        BrokenLink::TooLong => {
            format!("the link to input {input:?} could not be followed: the file's links are too long")
        }
    }
}
