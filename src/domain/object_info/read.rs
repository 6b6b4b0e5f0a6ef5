//! Parses `/object_info`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::input::{
    AutogrowShape, DynamicOption, InputKind, InputOptions, InputSpec, NumberRange, UploadKind,
};
use super::{NodeClass, OutputSpec};
use crate::domain::fields::{self, JsonFields};

/// The deepest nesting of dynamic inputs; three levels were seen.
const MAX_NESTING: usize = 8;

/// All classes of a body.
pub(super) fn classes(text: &str) -> Result<HashMap<String, NodeClass>, serde_json::Error> {
    let entries: JsonFields<'_> = serde_json::from_str(text)?;
    let mut reader = ObjectInfoReader { lists: HashMap::new(), depth: 0 };
    let classes =
        entries.entries().filter_map(|(name, raw)| Some((name.to_string(), reader.class(name, raw)?)));
    Ok(classes.collect())
}

struct ObjectInfoReader<'a> {
    /// Lists of choices by their text: backends repeat long ones in many classes.
    lists: HashMap<&'a str, Arc<[Value]>>,
    depth: usize,
}

impl<'a> ObjectInfoReader<'a> {
    fn class(&mut self, name: &str, raw: &'a str) -> Option<NodeClass> {
        let class = JsonFields::parse(raw)?;
        let input = class.fields("input")?;
        let order = class.fields("input_order");
        let mut inputs = self.group(&input, order.as_ref(), "required");
        inputs.append(&mut self.group(&input, order.as_ref(), "optional"));
        let hidden = input.fields("hidden").unwrap_or_default();
        let or_name =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| name.to_owned());
        Some(NodeClass {
            display_name: or_name(class.get("display_name")),
            description: class.get("description").unwrap_or_default(),
            category: class.get("category").unwrap_or_default(),
            inputs,
            hidden: hidden.entries().map(|(name, _)| name.to_string()).collect(),
            outputs: outputs(&class),
            output_node: class.truth("output_node"),
            is_input_list: class.truth("is_input_list"),
            api_node: class.truth("api_node"),
            module: class.get("python_module").unwrap_or_default(),
            name: name.to_owned(),
        })
    }

    /// The inputs under `required` or `optional`, as `input_order` has them; those it leaves out follow.
    fn group(
        &mut self,
        input: &JsonFields<'a>,
        order: Option<&JsonFields<'a>>,
        group: &str,
    ) -> Vec<InputSpec> {
        let Some(inputs) = input.fields(group) else { return Vec::new() };
        let names: Vec<String> = order.and_then(|order| order.get(group)).unwrap_or_default();
        let places: HashMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let mut ordered: Vec<_> = inputs.entries().collect();
        ordered.sort_by_key(|(name, _)| places.get(name.as_ref()).copied().unwrap_or(usize::MAX));
        ordered.into_iter().map(|(name, raw)| self.input(name, raw, group == "required")).collect()
    }

    fn input(&mut self, name: &str, raw: &'a str, required: bool) -> InputSpec {
        let parts = fields::list(raw);
        let kind = parts.first().copied().unwrap_or(raw);
        let said = parts.get(1).and_then(|raw| JsonFields::parse(raw)).unwrap_or_default();
        let choices = kind.starts_with('[').then_some(kind);
        let type_name = if choices.is_some() { "COMBO".to_owned() } else { text_or_any(kind) };
        InputSpec {
            name: name.to_owned(),
            required,
            kind: self.kind(&type_name, choices, &said),
            default: said.get("default"),
            options: options(&said),
            type_name,
        }
    }

    fn kind(&mut self, type_name: &str, choices: Option<&'a str>, said: &JsonFields<'a>) -> InputKind {
        let range = || NumberRange { min: said.get("min"), max: said.get("max"), step: said.get("step") };
        match type_name {
            "INT" => InputKind::Int(range()),
            "FLOAT" => InputKind::Float(range()),
            "STRING" => InputKind::String { multiline: said.truth("multiline") },
            "BOOLEAN" => InputKind::Boolean,
            "COMBO" => InputKind::Combo {
                choices: self.choices(choices.or_else(|| said.raw("options"))),
                by_options: choices.is_none(),
                remote: said.truth("remote"),
                multiselect: said.truth("multiselect") || said.truth("multi_select"),
            },
            "COMFY_DYNAMICCOMBO_V3" => InputKind::DynamicCombo(self.nested(|reader| {
                said.list("options").into_iter().filter_map(|raw| reader.dynamic_option(raw)).collect()
            })),
            "COMFY_AUTOGROW_V3" => self.autogrow(said),
            "COMFY_MATCHTYPE_V3" => {
                let template = said.fields("template").unwrap_or_default();
                InputKind::MatchType {
                    template_id: template.get("template_id").unwrap_or_default(),
                    allowed_types: template.get("allowed_types").unwrap_or_else(|| "*".to_owned()),
                }
            }
            _ => InputKind::Socket,
        }
    }

    fn choices(&mut self, raw: Option<&'a str>) -> Arc<[Value]> {
        let text = raw.unwrap_or("[]");
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

    fn dynamic_option(&mut self, raw: &'a str) -> Option<DynamicOption> {
        let option = JsonFields::parse(raw)?;
        let key = option.raw("key")?;
        let key = fields::text(key).map_or_else(|| key.to_owned(), Cow::into_owned);
        Some(DynamicOption { key, inputs: self.both_groups(option.fields("inputs").as_ref()) })
    }

    fn both_groups(&mut self, inputs: Option<&JsonFields<'a>>) -> Vec<InputSpec> {
        let Some(inputs) = inputs else { return Vec::new() };
        let mut found = self.group(inputs, None, "required");
        found.append(&mut self.group(inputs, None, "optional"));
        found
    }

    fn autogrow(&mut self, said: &JsonFields<'a>) -> InputKind {
        let template = said.fields("template").unwrap_or_default();
        InputKind::Autogrow(AutogrowShape {
            template: self.nested(|reader| reader.both_groups(template.fields("input").as_ref())),
            names: template.get("names").unwrap_or_default(),
            prefix: template.get("prefix"),
            min: template.get("min").unwrap_or_default(),
            max: template.get("max"),
        })
    }
}

fn options(said: &JsonFields<'_>) -> InputOptions {
    let uploads = [
        ("image_upload", UploadKind::Image),
        ("animated_image_upload", UploadKind::Image),
        ("video_upload", UploadKind::Video),
        ("audio_upload", UploadKind::Audio),
        ("file_upload", UploadKind::File),
    ];
    let control = "control_after_generate";
    InputOptions {
        force_input: said.truth("forceInput"),
        control_after_generate: said.raw(control).map(|_| said.truth(control)),
        dynamic_prompts: said.truth("dynamicPrompts"),
        widget_type: said.get("widgetType"),
        upload: uploads.into_iter().find(|(key, _)| said.truth(key)).map(|(_, upload)| upload),
        tooltip: said.get("tooltip"),
    }
}

fn outputs(class: &JsonFields<'_>) -> Vec<OutputSpec> {
    let names = class.list("output_name");
    let lists = class.list("output_is_list");
    let templates = class.list("output_matchtypes");
    let text =
        |list: &[&str], slot: usize| list.get(slot).and_then(|raw| fields::text(raw)).map(Cow::into_owned);
    let output = |(slot, raw): (usize, &str)| {
        let type_name = if raw.starts_with('[') { "COMBO".to_owned() } else { text_or_any(raw) };
        OutputSpec {
            name: text(&names, slot).unwrap_or_else(|| type_name.clone()),
            is_list: lists.get(slot).is_some_and(|raw| *raw == "true"),
            match_template: text(&templates, slot),
            type_name,
        }
    };
    class.list("output").into_iter().enumerate().map(output).collect()
}

/// A type's name; `*` where there is none.
fn text_or_any(raw: &str) -> String {
    fields::text(raw).unwrap_or(Cow::Borrowed("*")).into_owned()
}
