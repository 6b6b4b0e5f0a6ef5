//! The values of a node's fields in the form in which the editor submits them: lists wrapped, `{a
//! b}` resolved, prefixes filled in.

use std::borrow::Cow;
use std::collections::HashMap;

use indexmap::IndexMap;

use super::emit::{GraphEmitter, push_string};
use super::model::NodeRole;
use super::resolve::InputSource;
use super::{extras, prefix, prompt};
use crate::domain::fields;
use crate::domain::object_info::{InputSpec, NodeClass};

/// The first node, as frame and position, of each search name and of each title.
#[derive(Debug, Default)]
pub(super) struct NodeNameIndex {
    by_search_name: HashMap<String, (usize, usize)>,
    by_title: HashMap<String, (usize, usize)>,
}

impl<'c: 'd, 'd> GraphEmitter<'_, '_, 'd, 'c, '_> {
    /// The values of all fields of a node, as they go into the graph.
    pub(super) fn values(
        &mut self,
        frame: usize,
        at: usize,
        class: &'c NodeClass,
    ) -> IndexMap<String, String> {
        let Some(fields) = &self.resolver.known(frame, at).fields else { return IndexMap::new() };
        let fields: Vec<(String, Option<&'c InputSpec>)> =
            fields.widgets.iter().map(|widget| (widget.name.to_string(), widget.spec)).collect();
        let mut inputs = IndexMap::with_capacity(fields.len());
        for (name, spec) in fields {
            if let Some(value) = self.resolver.own_value(frame, at, &name) {
                let value = self.finished(class, &name, spec, value);
                inputs.insert(name, value);
            }
        }
        inputs
    }

    /// A field's value in the form in which the editor submits it.
    pub(super) fn finished(
        &mut self,
        class: &NodeClass,
        name: &str,
        spec: Option<&InputSpec>,
        value: Cow<'_, str>,
    ) -> String {
        if value.starts_with('[') {
            let kind = if spec.is_some_and(|spec| spec.type_name == "CURVE") {
                "\"__type__\":\"CURVE\","
            } else {
                ""
            };
            return format!("{{{kind}\"__value__\":{value}}}");
        }
        let draws = spec.is_some_and(|spec| spec.options.dynamic_prompts);
        let fills = extras::is_filled_in(&class.name, name) && value.contains('%');
        let Some(plain) = (draws || fills).then(|| fields::text(&value)).flatten() else {
            return value.into_owned();
        };
        let mut changed = plain.into_owned();
        if draws {
            changed = prompt::draw_prompt(&changed, self.around.draw);
        }
        if fills {
            changed =
                prefix::fill_prefix(&changed, self.around.now, &mut |node, field| self.look_up(node, field));
        }
        let mut json = String::with_capacity(changed.len() + 2);
        push_string(&mut json, &changed);
        json
    }

    /// The value of a field of the node of that name, as text.
    fn look_up(&mut self, name: &str, field: &str) -> Option<String> {
        if self.names.is_none() {
            self.names = Some(self.all_names());
        }
        let names = self.names.as_ref()?;
        let &(frame, at) = names.by_search_name.get(name).or_else(|| names.by_title.get(name))?;
        let value = match self.resolver.graph(frame).nodes[at].role {
            NodeRole::Subgraph(inner) => {
                let child = *self.resolver.frames[frame].children.get(&at)?;
                let port = self.resolver.document.graphs[inner].input_port(field)?;
                match self.resolver.promoted(child, port) {
                    InputSource::Value(value) => value,
                    InputSource::Node { .. } | InputSource::Nothing => return None,
                }
            }
            _ => self.resolver.own_value(frame, at, field)?,
        };
        match value.as_bytes().first()? {
            b'"' => fields::text(&value).map(Cow::into_owned),
            b'n' => Some(String::new()),
            b'[' | b'{' => None,
            _ => Some(value.strip_suffix(".0").unwrap_or(&value).to_owned()),
        }
    }

    fn all_names(&self) -> NodeNameIndex {
        let mut names = NodeNameIndex::default();
        for frame in 0..self.resolver.frames.len() {
            let graph = self.resolver.graph(frame);
            for (at, node) in graph.nodes.iter().enumerate().filter(|(at, _)| graph.counts(*at)) {
                if let Some(name) = &node.search_name {
                    names.by_search_name.entry(name.to_string()).or_insert((frame, at));
                }
                names.by_title.entry(self.title(frame, at).into_owned()).or_insert((frame, at));
            }
        }
        names
    }
}
