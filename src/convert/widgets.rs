//! Finds the fields that a node has in the editor, in their order, and the saved value of each.

use std::borrow::Cow;
use std::collections::HashMap;

use super::extras::{self, ExtraSlot};
use super::model::WidgetValues;
use super::report::shortened;
use super::saved_values::{controls, settle, without_stale};
use crate::domain::fields;
use crate::domain::object_info::{InputKind, InputSpec, NodeClass, UploadKind};

/// One field of a node.
#[derive(Debug)]
pub(super) struct NodeWidget<'c, 'a> {
    pub(super) name: Cow<'c, str>,
    /// The input that it sets; `None` for fields that only the editor knows.
    pub(super) spec: Option<&'c InputSpec>,
    /// Its value as JSON; `None` if there is none.
    pub(super) value: Option<Cow<'a, str>>,
}

/// An input that only a link can set.
#[derive(Debug)]
pub(super) struct LinkSocket<'c> {
    pub(super) name: Cow<'c, str>,
    pub(super) spec: &'c InputSpec,
}

/// The fields and sockets of one node, with dynamic inputs resolved by its values.
#[derive(Debug, Default)]
pub(super) struct NodeFields<'c, 'a> {
    pub(super) widgets: Vec<NodeWidget<'c, 'a>>,
    pub(super) sockets: Vec<LinkSocket<'c>>,
    /// Problems with the saved values.
    pub(super) doubts: Vec<String>,
    /// The places the fields have in `widgets_values`, by their names, with what was saved there.
    pub(super) saved: Vec<(Cow<'c, str>, Option<&'a str>)>,
    /// Positions in `widgets` by name.
    by_name: HashMap<Cow<'c, str>, usize>,
}

impl<'c, 'a> NodeFields<'c, 'a> {
    /// The field of that name.
    pub(super) fn widget(&self, name: &str) -> Option<&NodeWidget<'c, 'a>> {
        self.by_name.get(name).map(|at| &self.widgets[*at])
    }
}

/// Gives a node's saved values to its fields.
pub(super) fn assign<'c, 'a>(class: &'c NodeClass, values: &WidgetValues<'a>) -> NodeFields<'c, 'a> {
    let given = match values {
        WidgetValues::List(list) => GivenValues::List(without_stale(class, list), 0),
        WidgetValues::Named(named) => GivenValues::Named(named),
    };
    let mut walk = WidgetWalk { class: &class.name, given, fields: NodeFields::default() };
    for input in &class.inputs {
        walk.input(Cow::Borrowed(&input.name), input, true);
    }
    walk.extras(extras::behind(&class.name, ""));
    if class.inputs.iter().any(is_upload_combo) {
        walk.extras(&[extras::UPLOAD]);
    }
    if class.name == "CustomCombo" {
        walk.custom_combo();
    }
    walk.close()
}

/// Whether the editor shows a field for an input, so that a value can be typed in.
pub(super) fn is_widget(input: &InputSpec) -> bool {
    let by_kind = match &input.kind {
        InputKind::Autogrow(_) | InputKind::MatchType { .. } => false,
        InputKind::Socket => extras::has_field(&input.type_name),
        _ => true,
    };
    (by_kind || input.options.widget_type.is_some()) && !input.options.force_input
}

fn is_upload_combo(input: &InputSpec) -> bool {
    let has_button =
        matches!(input.options.upload, Some(UploadKind::Image | UploadKind::Video | UploadKind::Audio));
    has_button && matches!(input.kind, InputKind::Combo { .. })
}

enum GivenValues<'v, 'a> {
    /// The values and how many were taken.
    List(Vec<&'a str>, usize),
    Named(&'v HashMap<Cow<'a, str>, &'a str>),
}

impl<'a> GivenValues<'_, 'a> {
    fn take(&mut self, name: &str) -> Option<&'a str> {
        match self {
            Self::List(values, taken) => {
                *taken += 1;
                values.get(*taken - 1).copied()
            }
            Self::Named(values) => values.get(name).copied(),
        }
    }
}

struct WidgetWalk<'c, 'v, 'a> {
    class: &'c str,
    given: GivenValues<'v, 'a>,
    fields: NodeFields<'c, 'a>,
}

impl<'c, 'a> WidgetWalk<'c, '_, 'a> {
    /// One input. `takes` is off for parts of a dynamic combo that has no key of its own: they take no value.
    fn input(&mut self, name: Cow<'c, str>, spec: &'c InputSpec, takes: bool) {
        if !is_widget(spec) {
            self.socket(name, spec);
            return;
        }
        // The editor calls the field of a 3D view `image`, whatever the input's name is.
        let name = if spec.type_name == "LOAD_3D" { Cow::Borrowed("image") } else { name };
        if spec.type_name == "IMAGECOMPARE" {
            let value = Some(Cow::Borrowed(r#"["",""]"#));
            self.fields.widgets.push(NodeWidget { name, spec: Some(spec), value });
            return;
        }
        let given = if takes { self.take(name.clone()) } else { None };
        let value = settle(self.class, spec, given);
        let key = value.clone();
        self.fields.widgets.push(NodeWidget { name: name.clone(), spec: Some(spec), value });
        if takes {
            self.behind(&name, spec);
        }
        if let InputKind::DynamicCombo(options) = &spec.kind {
            let key = key.as_deref().and_then(|raw| fields::text(raw).or(Some(Cow::Borrowed(raw))));
            let option = options.iter().find(|option| Some(option.key.as_str()) == key.as_deref());
            if option.is_none() && given.is_some() {
                let key = key.unwrap_or_default();
                self.fields.doubts.push(format!(
                    "{:?} is none of the choices of `{name}`, so none of its parts were set",
                    shortened(&key)
                ));
            }
            let takes = takes && given != Some("null");
            for part in option.map(|option| &option.inputs).into_iter().flatten() {
                self.input(Cow::Owned(format!("{name}.{}", part.name)), part, takes);
            }
        }
    }

    fn take(&mut self, name: Cow<'c, str>) -> Option<&'a str> {
        let value = self.given.take(&name);
        self.fields.saved.push((name, value));
        value
    }

    /// The extra values that the editor keeps after a field.
    fn behind(&mut self, name: &str, spec: &InputSpec) {
        for control in controls(name, spec) {
            let value = self.take(Cow::Borrowed(control));
            let known = [
                "\"fixed\"",
                "\"increment\"",
                "\"increment-wrap\"",
                "\"decrement\"",
                "\"randomize\"",
                "true",
                "false",
                "null",
            ];
            if let Some(value) =
                value.filter(|value| *control == "control_after_generate" && !known.contains(value))
            {
                self.fields.doubts.push(format!(
                    "behind `{name}` stands {} where the editor keeps \"fixed\" or \"randomize\"; the values after it may be shifted by one",
                    shortened(value)
                ));
            }
        }
        if spec.type_name == "BOUNDING_BOX" {
            self.extras(extras::BEHIND_A_BOX);
        }
        self.extras(extras::behind(self.class, name));
    }

    fn extras(&mut self, slots: &[ExtraSlot]) {
        for slot in slots {
            let given = self.take(Cow::Borrowed(slot.name));
            if let Some(default) = slot.emitted {
                let value = Some(Cow::Borrowed(given.unwrap_or(default)));
                self.fields.widgets.push(NodeWidget { name: Cow::Borrowed(slot.name), spec: None, value });
            }
        }
    }

    fn socket(&mut self, name: Cow<'c, str>, spec: &'c InputSpec) {
        self.fields.sockets.push(LinkSocket { name, spec });
    }

    /// `CustomCombo` keeps its choices as fields of its own: `index` of the choice, `option1`, … and an empty one.
    fn custom_combo(&mut self) {
        let choice = self.fields.widgets.first().and_then(|widget| widget.value.clone());
        let _saved_index = self.take(Cow::Borrowed("index"));
        let mut options: Vec<&'a str> = Vec::new();
        while let Some(option) = self.given.take(&format!("option{}", options.len() + 1)) {
            options.push(option);
            self.fields.saved.push((Cow::Owned(format!("option{}", options.len())), Some(option)));
        }
        if options.last().is_none_or(|last| *last != "\"\"") {
            options.push("\"\"");
        }
        let index = options.iter().position(|option| Some(*option) == choice.as_deref());
        let index = index.map_or_else(|| "-1".to_owned(), |index| index.to_string());
        let mut add = |name: Cow<'c, str>, value: Cow<'a, str>| {
            self.fields.widgets.push(NodeWidget { name, spec: None, value: Some(value) });
        };
        add(Cow::Borrowed("index"), Cow::Owned(index));
        for (at, option) in options.into_iter().enumerate() {
            add(Cow::Owned(format!("option{}", at + 1)), Cow::Borrowed(option));
        }
    }

    fn close(mut self) -> NodeFields<'c, 'a> {
        let names = self.fields.widgets.iter().enumerate().rev();
        self.fields.by_name = names.map(|(at, widget)| (widget.name.clone(), at)).collect();
        if let GivenValues::List(values, _) = &self.given {
            let doubt = self.count(values.len());
            self.fields.doubts.extend(doubt);
        }
        self.fields
    }

    /// The warning about a wrong number of saved values.
    fn count(&self, saved: usize) -> Option<String> {
        let places = self.fields.saved.len();
        if saved > places {
            let surplus = saved - places;
            return Some(format!(
                "{saved} values are saved for {places} fields; the last {surplus} were not used"
            ));
        }
        let absent = self.fields.saved[saved..].iter().map(|(name, _)| name.as_ref());
        let absent: Vec<&str> = absent.filter(|name| self.fields.by_name.contains_key(*name)).collect();
        let told = saved > 0 && !absent.is_empty();
        told.then(|| {
            format!("no value is saved for {}: the class's default was taken", shortened(&absent.join(", ")))
        })
    }
}
