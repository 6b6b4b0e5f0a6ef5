//! Reads `/object_info` from its text. It must not be strict: an odd input stays, with what could be read of it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::input::{Autogrow, DynamicOption, InputKind, InputSpec, NumberRange, Options};
use super::{NodeClass, OutputSpec};
use crate::domain::workflow::Entries;

/// How deep dynamic inputs may lie in each other; three were seen.
const MAX_NESTING: usize = 8;

/// All classes of a body.
pub(super) fn classes(text: &str) -> Result<HashMap<String, NodeClass>, serde_json::Error> {
    let Entries(entries) = serde_json::from_str(text)?;
    let mut reader = Reader { lists: HashMap::new(), depth: 0 };
    let classes =
        entries.into_iter().filter_map(|(name, raw)| Some((name.clone(), reader.class(name, raw)?)));
    Ok(classes.collect())
}

/// The last value of a key, unless it is `null`.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str::<Entries<'a>>(raw.get()).ok().map(|Entries(entries)| Self(entries))
    }

    fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, raw)| name == key && raw.get() != "null").map(|(_, raw)| *raw)
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?.get()).ok()
    }

    fn truth(&self, key: &str) -> bool {
        self.raw(key).is_some_and(|raw| !matches!(raw.get(), "false" | "0" | "\"\""))
    }

    fn fields(&self, key: &str) -> Option<Self> {
        Self::of(self.raw(key)?)
    }

    fn list(&self, key: &str) -> Vec<&'a RawValue> {
        self.raw(key).map(list).unwrap_or_default()
    }
}

fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

struct Reader<'a> {
    /// Lists of choices by their text: servers repeat long ones in many classes.
    lists: HashMap<&'a str, Arc<[Value]>>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn class(&mut self, name: String, raw: &'a RawValue) -> Option<NodeClass> {
        let class = Fields::of(raw)?;
        let input = class.fields("input")?;
        let order = class.fields("input_order");
        let mut inputs = self.group(&input, order.as_ref(), "required");
        inputs.append(&mut self.group(&input, order.as_ref(), "optional"));
        let hidden = input.fields("hidden").map(|Fields(entries)| entries).unwrap_or_default();
        let or_name =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| name.clone());
        Some(NodeClass {
            display_name: or_name(class.get("display_name")),
            description: class.get("description").unwrap_or_default(),
            category: class.get("category").unwrap_or_default(),
            inputs,
            hidden: hidden.into_iter().map(|(name, _)| name).collect(),
            outputs: outputs(&class),
            output_node: class.truth("output_node"),
            is_input_list: class.truth("is_input_list"),
            api_node: class.truth("api_node"),
            name,
        })
    }

    /// The inputs under `required` or `optional`, as `input_order` has them; those it leaves out follow.
    fn group(&mut self, input: &Fields<'a>, order: Option<&Fields<'a>>, group: &str) -> Vec<InputSpec> {
        let Some(Fields(entries)) = input.fields(group) else { return Vec::new() };
        let names: Vec<String> = order.and_then(|order| order.get(group)).unwrap_or_default();
        let places: HashMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let mut ordered: Vec<_> = entries.iter().collect();
        ordered.sort_by_key(|(name, _)| places.get(name.as_str()).copied().unwrap_or(usize::MAX));
        ordered.into_iter().map(|(name, raw)| self.input(name, raw, group == "required")).collect()
    }

    fn input(&mut self, name: &str, raw: &'a RawValue, required: bool) -> InputSpec {
        let parts = list(raw);
        let kind = parts.first().copied().unwrap_or(raw);
        let said = parts.get(1).and_then(|raw| Fields::of(raw)).unwrap_or(Fields(Vec::new()));
        let choices = kind.get().starts_with('[').then_some(kind);
        let type_name =
            if choices.is_some() { "COMBO".to_owned() } else { text(kind).unwrap_or("*".to_owned()) };
        InputSpec {
            name: name.to_owned(),
            required,
            kind: self.kind(&type_name, choices, &said),
            default: said.get("default"),
            options: options(&said),
            type_name,
        }
    }

    fn kind(&mut self, type_name: &str, choices: Option<&'a RawValue>, said: &Fields<'a>) -> InputKind {
        let range = || NumberRange { min: said.get("min"), max: said.get("max"), step: said.get("step") };
        match type_name {
            "INT" => InputKind::Int(range()),
            "FLOAT" => InputKind::Float(range()),
            "STRING" => InputKind::String { multiline: said.truth("multiline") },
            "BOOLEAN" => InputKind::Boolean,
            "COMBO" => InputKind::Combo {
                choices: self.choices(choices.or_else(|| said.raw("options"))),
                remote: said.truth("remote"),
                multiselect: said.truth("multiselect") || said.truth("multi_select"),
            },
            "COMFY_DYNAMICCOMBO_V3" => InputKind::DynamicCombo(self.nested(|reader| {
                said.list("options").into_iter().filter_map(|raw| reader.dynamic_option(raw)).collect()
            })),
            "COMFY_AUTOGROW_V3" => self.autogrow(said),
            "COMFY_MATCHTYPE_V3" => {
                let template = said.fields("template").unwrap_or(Fields(Vec::new()));
                InputKind::MatchType {
                    template_id: template.get("template_id").unwrap_or_default(),
                    allowed_types: template.get("allowed_types").unwrap_or_else(|| "*".to_owned()),
                }
            }
            _ => InputKind::Socket,
        }
    }

    fn choices(&mut self, raw: Option<&'a RawValue>) -> Arc<[Value]> {
        let text = raw.map_or("[]", RawValue::get);
        let read = || serde_json::from_str::<Vec<Value>>(text).unwrap_or_default().into();
        Arc::clone(self.lists.entry(text).or_insert_with(read))
    }

    fn nested<T: Default>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        if self.depth == MAX_NESTING {
            return T::default();
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn dynamic_option(&mut self, raw: &'a RawValue) -> Option<DynamicOption> {
        let option = Fields::of(raw)?;
        let key = option.raw("key")?;
        let key = text(key).unwrap_or_else(|| key.get().to_owned());
        Some(DynamicOption { key, inputs: self.both_groups(option.fields("inputs").as_ref()) })
    }

    fn both_groups(&mut self, inputs: Option<&Fields<'a>>) -> Vec<InputSpec> {
        let Some(inputs) = inputs else { return Vec::new() };
        let mut found = self.group(inputs, None, "required");
        found.append(&mut self.group(inputs, None, "optional"));
        found
    }

    fn autogrow(&mut self, said: &Fields<'a>) -> InputKind {
        let template = said.fields("template").unwrap_or(Fields(Vec::new()));
        InputKind::Autogrow(Autogrow {
            template: self.nested(|reader| reader.both_groups(template.fields("input").as_ref())),
            names: template.get("names").unwrap_or_default(),
            prefix: template.get("prefix"),
            min: template.get("min").unwrap_or_default(),
            max: template.get("max"),
        })
    }
}

fn options(said: &Fields<'_>) -> Options {
    let uploads = ["image_upload", "video_upload", "audio_upload", "file_upload"];
    let control = "control_after_generate";
    Options {
        force_input: said.truth("forceInput"),
        control_after_generate: said.raw(control).map(|_| said.truth(control)),
        dynamic_prompts: said.truth("dynamicPrompts"),
        widget_type: said.get("widgetType"),
        upload: uploads.into_iter().any(|upload| said.truth(upload)),
        tooltip: said.get("tooltip"),
    }
}

fn outputs(class: &Fields<'_>) -> Vec<OutputSpec> {
    let names = class.list("output_name");
    let lists = class.list("output_is_list");
    let templates = class.list("output_matchtypes");
    let output = |(slot, raw): (usize, &RawValue)| {
        let of_list = if raw.get().starts_with('[') { "COMBO" } else { "*" };
        let type_name = text(raw).unwrap_or_else(|| of_list.to_owned());
        OutputSpec {
            name: names.get(slot).and_then(|raw| text(raw)).unwrap_or_else(|| type_name.clone()),
            is_list: lists.get(slot).is_some_and(|raw| raw.get() == "true"),
            match_template: templates.get(slot).and_then(|raw| text(raw)),
            type_name,
        }
    };
    class.list("output").into_iter().enumerate().map(output).collect()
}
