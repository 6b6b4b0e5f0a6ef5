//! Checks links: whether each leads to an output, and whether the output has a type that the input takes.

use super::faults::FaultKind;
use super::node::{NodeCheck, is_dynamic};
use super::python;
use super::slot::{InputFault, NodeSlot};
use crate::domain::fields;
use crate::domain::object_info::{NodeClass, OutputSpec};

impl<'c> NodeCheck<'c, '_> {
    /// Every list is a link, whatever it contains.
    pub fn link(&mut self, slot: NodeSlot<'_>, raw: &str) {
        let (place, output) = match self.end_of(raw) {
            Ok(LinkOrigin::Output { place, output }) => (place, output),
            Ok(LinkOrigin::Unknown) => return,
            Err((message, certain)) => {
                let found = InputFault {
                    kind: FaultKind::BadLinkedInput,
                    message,
                    received: Some(raw),
                    nearest: vec![],
                };
                return self.fault(slot, found, certain);
            }
        };
        let wanted = &slot.spec.type_name;
        let mut follow = true;
        if !types_meet(&output.type_name, wanted) {
            // A type may be an object that claims to be equal to every other.
            let from_custom = self.context.class(place).is_none_or(NodeClass::is_custom);
            let certain = !self.class.is_custom() && !from_custom && !self.own.types;
            follow = !certain;
            let message = format!("`{}` takes {wanted}, but is linked to {}", slot.name, output.type_name);
            let found = InputFault {
                kind: FaultKind::ReturnTypeMismatch,
                message,
                received: Some(raw),
                nearest: vec![],
            };
            self.fault(slot, found, certain);
        }
        if follow {
            self.sources.push(place);
        }
    }

    /// The origin of a link; or its fault, and whether that is certain.
    fn end_of(&self, raw: &str) -> Result<LinkOrigin<'c>, (String, bool)> {
        let [id, slot] = fields::list(raw)[..] else {
            return Err(("a list is a link, which has two parts: a node's id and a number".to_owned(), true));
        };
        let place = fields::text(id).and_then(|id| self.context.places.get(&*id).copied());
        let place =
            place.ok_or_else(|| (format!("links to node {id}, which is not in the workflow"), true))?;
        let Some(class) = self.context.class(place) else { return Ok(LinkOrigin::Unknown) };
        let output = python::index(slot, class.outputs.len());
        let output = output.and_then(|at| class.outputs.get(at)).ok_or_else(|| {
            let (node, count) = (self.context.node(place), class.outputs.len());
            let message =
                format!("links to output {slot} of node {} ({}), which has {count}", node.id, class.name);
            // Some packages have lists of outputs that return one for any index.
            (message, !class.is_custom())
        })?;
        Ok(LinkOrigin::Output { place, output })
    }
}

/// The origin of a link.
enum LinkOrigin<'c> {
    Output {
        place: usize,
        output: &'c OutputSpec,
    },
    /// A node of an unknown class.
    Unknown,
}

/// Whether an output of one type may be linked to an input of another: they have a type in common, or one is any.
fn types_meet(received: &str, wanted: &str) -> bool {
    let any = |name: &str| name == "*" || is_dynamic(name);
    let each = |names: &'_ str| names.split(',').map(str::trim).any(any);
    received == wanted
        || each(received)
        || each(wanted)
        || received.split(',').any(|name| wanted.split(',').any(|other| other.trim() == name.trim()))
}
