//! One input of a node class.

use std::sync::Arc;

use serde_json::{Number, Value};

/// One input of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Its name; within a dynamic combo's option and an autogrow's template, the last part of the name only.
    pub name: String,
    /// Whether a graph must set it.
    pub required: bool,
    /// The type as the backend writes it: `INT`, `IMAGE`, `*`, `INT,FLOAT`; `COMBO` also for a bare list of
    /// choices.
    pub type_name: String,
    /// The kind of values that it takes.
    pub kind: InputKind,
    /// The value in a new node, if the class gives one.
    pub default: Option<Value>,
    /// Further options of the class.
    pub options: InputOptions,
}

/// The limits of a number; numbers keep the digits the backend wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberRange {
    /// The least.
    pub min: Option<Number>,
    /// The greatest.
    pub max: Option<Number>,
    /// The step of the editor's arrows. Backends accept values in between.
    pub step: Option<Number>,
}

/// The kind of values that an input takes.
#[derive(Debug, Clone, PartialEq)]
pub enum InputKind {
    /// A whole number.
    Int(NumberRange),
    /// Any number.
    Float(NumberRange),
    /// A text.
    String {
        /// Whether the editor gives it several lines.
        multiline: bool,
    },
    /// `true` or `false`.
    Boolean,
    /// One of several values, mostly texts.
    Combo {
        /// The values; shared between inputs that have the same.
        choices: Arc<[Value]>,
        /// Whether they are written as `options` of the type `COMBO`; otherwise the list itself stands for
        /// the type. Backends of old do not hold a value against the former.
        by_options: bool,
        /// Whether the editor fetches the choices elsewhere, so that none are known here.
        remote: bool,
        /// Whether the value is a list of choices.
        multiselect: bool,
    },
    /// One of several keys, each with inputs of its own named `input.part` (`COMFY_DYNAMICCOMBO_V3`).
    DynamicCombo(Vec<DynamicOption>),
    /// Any number of inputs of one shape, named `input.part` (`COMFY_AUTOGROW_V3`).
    Autogrow(AutogrowShape),
    /// A link of one of several types, the same for all inputs of one template (`COMFY_MATCHTYPE_V3`).
    MatchType {
        /// Which inputs and outputs of the class have one type.
        template_id: String,
        /// The types: `*`, or names separated by commas.
        allowed_types: String,
    },
    /// Any other type. Most take only a link; types such as `COLOR` or `CURVE` hold values.
    Socket,
}

/// One key of a dynamic combo.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicOption {
    /// The value that selects it.
    pub key: String,
    /// The inputs that come with it: the required, then the optional.
    pub inputs: Vec<InputSpec>,
}

/// The shape of an autogrow input.
#[derive(Debug, Clone, PartialEq)]
pub struct AutogrowShape {
    /// The kind of each part, mostly one; its own name does not appear in a graph.
    pub template: Vec<InputSpec>,
    /// The parts' names where the class lists them; otherwise they are `{prefix}{0..}`.
    pub names: Vec<String>,
    /// The prefix of the number in a part's name.
    pub prefix: Option<String>,
    /// The least number of parts.
    pub min: u64,
    /// The greatest number of parts.
    pub max: Option<u64>,
}

/// The kind of file that an input names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadKind {
    /// A picture, still or animated.
    Image,
    /// A video.
    Video,
    /// An audio file.
    Audio,
    /// Anything else, such as a 3D model.
    File,
}

/// Further options of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// `forceInput`: it takes a link although its type could be typed in.
    pub force_input: bool,
    /// `control_after_generate`, where said: the editor puts a "fixed/randomize" choice behind it.
    pub control_after_generate: Option<bool>,
    /// `dynamicPrompts`: the editor draws from `{a|b}` in its text.
    pub dynamic_prompts: bool,
    /// `widgetType`: the editor's own field for it, whatever its type.
    pub widget_type: Option<String>,
    /// `image_upload`, `video_upload`, `audio_upload` or `file_upload`: it names a file to be uploaded.
    pub upload: Option<UploadKind>,
    /// `tooltip`: what it is for, in the author's words.
    pub tooltip: Option<String>,
}

impl InputSpec {
    /// The value the editor gives a new node: the class's default, else the first choice, 0, `""` or `false`.
    /// `None` where only a link fits or the class names no choice.
    #[must_use]
    pub fn initial_value(&self) -> Option<Value> {
        self.default.clone().or_else(|| match &self.kind {
            InputKind::Int(_) | InputKind::Float(_) => Some(Value::from(0)),
            InputKind::String { .. } => Some(Value::from("")),
            InputKind::Boolean => Some(Value::from(false)),
            InputKind::Combo { choices, .. } => choices.first().cloned(),
            InputKind::DynamicCombo(options) => options.first().map(|option| Value::from(option.key.clone())),
            InputKind::Autogrow(_) | InputKind::MatchType { .. } | InputKind::Socket => None,
        })
    }
}

impl AutogrowShape {
    /// The name of part `at` (from 0) of the input `input`, without the input's own name in front.
    #[must_use]
    pub fn part(&self, input: &str, at: usize) -> Option<String> {
        if !self.names.is_empty() {
            return self.names.get(at).cloned();
        }
        let within = self.max.is_none_or(|max| u64::try_from(at).is_ok_and(|at| at < max));
        within.then(|| format!("{}{at}", self.prefix.as_deref().unwrap_or(input)))
    }

    /// Whether `part` can be one of its parts: `image0` for the prefix `image`.
    #[must_use]
    pub fn has_part(&self, input: &str, part: &str) -> bool {
        if !self.names.is_empty() {
            return self.names.iter().any(|name| name == part);
        }
        let number = part.strip_prefix(self.prefix.as_deref().unwrap_or(input));
        number
            .and_then(|digits| digits.parse::<usize>().ok())
            .is_some_and(|at| self.part(input, at).as_deref() == Some(part))
    }
}
