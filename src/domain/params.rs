//! The parameters a workflow declares in its titles. What becomes of a caller's values stands in `binding`.
//! It must not know where values come from.

use std::collections::BTreeMap;

use super::dsl::{self, Title};
use super::workflow::{Fault, Workflow};

/// Node classes whose fields name media files whether or not the marker says `~`.
const MEDIA_CLASSES: [&str; 6] =
    ["LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo", "VHS_LoadAudioUpload", "VHS_LoadVideo"];

/// What values a field takes, told by the literal that stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// `true` or `false`.
    Bool,
    /// A whole number of any size.
    Int,
    /// Any number.
    Float,
    /// A text.
    String,
    /// The field holds no literal to tell by: any text, number or boolean.
    Untyped,
}

impl ParamType {
    fn of(literal: &str) -> Self {
        match literal.as_bytes().first() {
            Some(b't' | b'f') => Self::Bool,
            Some(b'-' | b'0'..=b'9') if literal.contains(['.', 'e', 'E']) => Self::Float,
            Some(b'-' | b'0'..=b'9') => Self::Int,
            Some(b'"') => Self::String,
            _ => Self::Untyped,
        }
    }

    /// The type's name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::String => "a text",
            Self::Untyped => "a text, number or boolean",
        }
    }

    /// The JSON to put into the field for `value`, or `None` if its type is wrong.
    pub(super) fn accept(self, value: &str) -> Option<&str> {
        let given = Self::of(value);
        match (self, given) {
            (Self::Int, Self::Float) => value.strip_suffix(".0"),
            (Self::Float, Self::Int) => Some(value),
            (Self::Untyped, given) => (given != Self::Untyped).then_some(value),
            (wanted, given) => (wanted == given).then_some(value),
        }
    }
}

/// One input that a parameter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node's position in the workflow.
    pub node: usize,
    /// The input's name.
    pub field: String,
    /// What the field takes.
    pub kind: ParamType,
    /// Whether it takes a list, and how that is written.
    pub list: Option<ListForm>,
}

/// How a list is written that is a value: to ComfyUI a bare list of two may be a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// `[…]`
    Bare,
    /// `{"__value__": […]}`, as the editor writes it.
    Wrapped,
}

impl ListForm {
    /// The form of a literal that is a list.
    fn of(literal: &str) -> Option<Self> {
        match literal.as_bytes().first() {
            Some(b'[') => Some(Self::Bare),
            Some(b'{') if literal.contains("\"__value__\"") => Some(Self::Wrapped),
            _ => None,
        }
    }
}

/// A parameter the workflow declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// The inputs it sets; at least one.
    pub targets: Vec<Target>,
    /// Whether the caller must give it.
    pub required: bool,
    /// Whether its value names a media file.
    pub media: bool,
    /// What it is for, in the author's words.
    pub description: Option<String>,
}

/// The parameters of one workflow, by name.
#[derive(Debug)]
pub struct Params<'w, 'a> {
    pub(super) workflow: &'w Workflow<'a>,
    pub(super) declared: BTreeMap<String, Param>,
}

impl<'w, 'a> Params<'w, 'a> {
    /// Reads the markers of all titles.
    ///
    /// # Errors
    /// A fault for each broken marker and each optional parameter without a default.
    pub fn declared_in(workflow: &'w Workflow<'a>) -> Result<Self, Vec<Fault>> {
        let mut declared: BTreeMap<String, Param> = BTreeMap::new();
        let mut faults = Vec::new();
        for (at, node) in workflow.nodes().iter().enumerate() {
            let Some(title) = node.title.as_deref() else { continue };
            match dsl::read_title(title) {
                Ok(Title::Output(_)) => {}
                Ok(Title::Params(markers)) => {
                    for marker in markers {
                        declare(workflow, at, &marker, &mut declared);
                    }
                }
                Err(invalid) => {
                    faults.push(Fault::at_node(&node.id, &["_meta", "title"], invalid.to_string()));
                }
            }
        }
        faults.extend(without_default(workflow, &declared));
        if faults.is_empty() { Ok(Self { workflow, declared }) } else { Err(faults) }
    }

    /// The workflow that declares them.
    #[must_use]
    pub const fn workflow(&self) -> &'w Workflow<'a> {
        self.workflow
    }

    /// The declared parameters, by name.
    #[must_use]
    pub const fn declared(&self) -> &BTreeMap<String, Param> {
        &self.declared
    }
}

fn declare(
    workflow: &Workflow<'_>,
    at: usize,
    marker: &dsl::ParamMarker<'_>,
    declared: &mut BTreeMap<String, Param>,
) {
    let node = &workflow.nodes()[at];
    let literal = node.input(marker.field).filter(|input| input.link.is_none());
    let literal = literal.map(|input| workflow.value(input));
    let kind = literal.map_or(ParamType::Untyped, ParamType::of);
    let list = literal.and_then(ListForm::of);
    let param = declared.entry(marker.name.to_owned()).or_insert_with(|| Param {
        targets: Vec::new(),
        required: false,
        media: false,
        description: None,
    });
    param.targets.push(Target { node: at, field: marker.field.to_owned(), kind, list });
    param.required |= marker.required;
    param.media |= marker.media || MEDIA_CLASSES.contains(&node.class_type.as_str());
    if param.description.is_none() {
        param.description = marker.description.map(str::to_owned);
    }
}

fn without_default(workflow: &Workflow<'_>, declared: &BTreeMap<String, Param>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, param) in declared.iter().filter(|(_, param)| !param.required) {
        for target in &param.targets {
            let node = &workflow.nodes()[target.node];
            if node.input(&target.field).is_none_or(|input| input.link.is_some()) {
                let message = format!(
                    "the optional parameter {name:?} needs a default: put a literal into input {:?}, or mark it required as `${name}.{}!`",
                    target.field, target.field
                );
                faults.push(Fault::at_node(&node.id, &["inputs", &target.field], message));
            }
        }
    }
    faults
}

/// Up to three known names that `name` may have been meant as, the nearest first.
#[must_use]
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut close: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().take(3).map(|(_, known)| known).collect()
}
