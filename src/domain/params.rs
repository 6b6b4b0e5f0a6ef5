//! The parameters that a workflow declares in its titles, and the types of their values. `binding` puts
//! values into the workflow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::dsl::{self, TitleMarker};
use super::fault::{WorkflowFault, WorkflowFaults};
use super::object_info::{InputKind, InputSpec, NodeClasses};
use super::text::brief;
use super::workflow::{GraphNode, Workflow};

/// Node classes whose fields name media files with or without the marker's `~`.
pub(super) const MEDIA_CLASSES: [&str; 6] =
    ["LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo", "VHS_LoadAudioUpload", "VHS_LoadVideo"];

/// The most parameters that the title of one node declares.
const MOST_MARKERS: usize = 100;
/// Longer names, in characters, are not compared with others.
const COMPARED: usize = 200;

/// The type of an input's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// `true` or `false`.
    Bool,
    /// A whole number of any size, in any notation: `20`, `20.0` and `2e1` are the same.
    Int,
    /// Any number.
    Number,
    /// A text.
    String,
    /// Neither the class nor a literal gives the type: any text, number or boolean.
    Untyped,
}

impl ParamType {
    /// The type by the node class, if a backend reports it, and otherwise by the workflow's literal.
    fn of(spec: Option<&InputSpec>, literal: Option<&str>) -> Self {
        spec.and_then(Self::of_spec).or_else(|| literal.map(Self::of_literal)).unwrap_or(Self::Untyped)
    }

    /// `None` for inputs whose class does not restrict them to one type, such as links and empty combos.
    fn of_spec(spec: &InputSpec) -> Option<Self> {
        match &spec.kind {
            InputKind::Int(_) => Some(Self::Int),
            InputKind::Float(_) => Some(Self::Number),
            InputKind::String { .. } | InputKind::DynamicCombo(_) => Some(Self::String),
            InputKind::Boolean => Some(Self::Bool),
            InputKind::Combo { .. } if spec.options.upload.is_some() => Some(Self::String),
            InputKind::Combo { choices, multiselect: false, .. } => {
                let mut types = choices.iter().map(|choice| Self::of_literal(&choice.to_string()));
                let first = types.next()?;
                Some(if types.all(|other| other == first) { first } else { Self::Untyped })
            }
            _ => None,
        }
    }

    /// An integer literal allows any number, because JavaScript writes `1.0` as `1`.
    fn of_literal(literal: &str) -> Self {
        match literal.as_bytes().first() {
            Some(b't' | b'f') => Self::Bool,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            Some(b'"') => Self::String,
            _ => Self::Untyped,
        }
    }

    /// The type of the values that both types allow; `None` if there are none.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Self::Untyped, known) | (known, Self::Untyped) => Some(known),
            (Self::Int, Self::Number) | (Self::Number, Self::Int) => Some(Self::Int),
            _ => None,
        }
    }

    /// The type's name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Number => "a number",
            Self::String => "a text",
            Self::Untyped => "a text, number or boolean",
        }
    }

    /// The JSON to put into the input for `value`, or `None` if its type is wrong.
    pub(super) fn accept(self, value: &str) -> Option<Cow<'_, str>> {
        let given = Self::of_literal(value);
        match self {
            Self::Int if given == Self::Number => whole_number(value),
            Self::Untyped => (given != Self::Untyped).then_some(value.into()),
            wanted => (wanted == given).then_some(value.into()),
        }
    }
}

/// A JSON number without a fraction, written with digits only, because ComfyUI's INT inputs take it exactly
/// so.
fn whole_number(json: &str) -> Option<Cow<'_, str>> {
    /// The most zeros that an exponent may add, which is more than any input of ComfyUI takes.
    const MOST_ZEROS: usize = 40;
    if !json.contains(['.', 'e', 'E']) {
        return Some(json.into());
    }
    let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.bytes().all(|digit| digit == b'0') {
        return Some("0".into());
    }
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let shift = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let zeros = usize::try_from(shift.checked_add(zeros)?).ok().filter(|zeros| *zeros <= MOST_ZEROS)?;
    Some(format!("{sign}{}{}", significant.trim_start_matches('0'), "0".repeat(zeros)).into())
}

/// One input that a parameter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamTarget {
    /// The node's position in the workflow.
    pub node: usize,
    /// The input's name.
    pub field: String,
    /// The type of its values.
    pub kind: ParamType,
    /// How a list is written, if the input takes one.
    pub list: Option<ListForm>,
}

/// How a list is written as a value, because ComfyUI may take a bare list of two for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// `[…]`
    Bare,
    /// `{"__value__": […]}`, as the editor writes it.
    Wrapped,
}

impl ListForm {
    /// The form of a list in the literal.
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
    pub targets: Vec<ParamTarget>,
    /// Whether the caller must give it.
    pub required: bool,
    /// Whether its value names a media file.
    pub media: bool,
    /// The author's description.
    pub description: Option<String>,
}

/// The parameters of one workflow, by name.
#[derive(Debug)]
pub struct Params<'w, 'a> {
    pub(super) workflow: &'w Workflow<'a>,
    pub(super) declared: BTreeMap<String, Param>,
}

impl<'w, 'a> Params<'w, 'a> {
    /// Reads the markers of all titles. `classes` are the node classes that backends have reported so far,
    /// perhaps none.
    ///
    /// # Errors
    /// A fault for each broken marker and each optional parameter without a default.
    pub fn declared_in(
        workflow: &'w Workflow<'a>,
        classes: &dyn NodeClasses,
    ) -> Result<Self, WorkflowFaults> {
        let mut declared: BTreeMap<String, Param> = BTreeMap::new();
        let mut faults = WorkflowFaults::default();
        for (at, node) in workflow.nodes().iter().enumerate() {
            let Some(title) = node.title.as_deref() else { continue };
            match dsl::read_title(title) {
                Ok(TitleMarker::Output(_)) => {}
                Ok(TitleMarker::Params(markers)) if markers.len() > MOST_MARKERS => {
                    let message = format!("the title declares more than {MOST_MARKERS} parameters");
                    faults.push(WorkflowFault::at_node(&node.id, &["_meta", "title"], message));
                }
                Ok(TitleMarker::Params(markers)) => {
                    for marker in markers {
                        declare(workflow, at, &marker, classes, &mut declared);
                    }
                }
                Err(invalid) => {
                    faults.push(WorkflowFault::at_node(&node.id, &["_meta", "title"], invalid.to_string()));
                }
            }
        }
        let most = workflow.limits().params;
        if declared.len() > most {
            return Err(WorkflowFault::whole(format!(
                "the workflow declares {} parameters; it may declare {most} (max_params)",
                declared.len()
            )));
        }
        faults.append(without_default(workflow, classes, &declared));
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
    classes: &dyn NodeClasses,
    declared: &mut BTreeMap<String, Param>,
) {
    let node = &workflow.nodes()[at];
    let literal = node.input(marker.field).filter(|input| input.link.is_none());
    let literal = literal.map(|input| workflow.value(input));
    let spec = classes.class(&node.class_type).and_then(|class| class.input(marker.field));
    let kind = ParamType::of(spec, literal);
    let list = literal.and_then(ListForm::of);
    let param = declared.entry(marker.name.to_owned()).or_insert_with(|| Param {
        targets: Vec::new(),
        required: false,
        media: false,
        description: None,
    });
    param.targets.push(ParamTarget { node: at, field: marker.field.to_owned(), kind, list });
    param.required |= marker.required;
    param.media |= marker.media || MEDIA_CLASSES.contains(&node.class_type.as_str());
    if param.description.is_none() {
        param.description = marker.description.map(str::to_owned);
    }
}

fn without_default(
    workflow: &Workflow<'_>,
    classes: &dyn NodeClasses,
    declared: &BTreeMap<String, Param>,
) -> WorkflowFaults {
    let mut faults = WorkflowFaults::default();
    for (name, param) in declared.iter().filter(|(_, param)| !param.required) {
        for target in &param.targets {
            let node = &workflow.nodes()[target.node];
            if node.input(&target.field).is_none_or(|input| input.link.is_some()) {
                let message = unknown_input(name, target, node, classes).unwrap_or_else(|| {
                    let name = brief(name);
                    format!(
                        "the optional parameter {name:?} needs a default: put a literal into input {:?}, or mark it required as `${name}.{}!`",
                        target.field, target.field
                    )
                });
                faults.push(WorkflowFault::at_node(&node.id, &["inputs", &target.field], message));
            }
        }
    }
    faults
}

/// The message for a marker that names an input which the node's class does not have.
fn unknown_input(
    name: &str,
    target: &ParamTarget,
    node: &GraphNode,
    classes: &dyn NodeClasses,
) -> Option<String> {
    let class = classes.class(&node.class_type)?;
    if class.input(&target.field).is_some() {
        return None;
    }
    let known = class.inputs.iter().map(|input| input.name.as_str());
    let near = nearest(&target.field, known.clone());
    let known = if near.is_empty() { known.take(10).collect() } else { near };
    let hint = if known.is_empty() { "no input".to_owned() } else { known.join(", ") };
    let name = brief(name);
    Some(format!(
        "the parameter {name:?} sets the input {:?}, which the class {} does not have; it has {hint}: name one of them as `${name}.input`",
        brief(&target.field),
        class.name
    ))
}

/// Up to three known names that are near `name`, the nearest first.
#[must_use]
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    if name.len() > COMPARED {
        return Vec::new();
    }
    let mut close: Vec<(f64, &str)> = known
        .filter(|known| known.len() <= COMPARED)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().take(3).map(|(_, known)| known).collect()
}
