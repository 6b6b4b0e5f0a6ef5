//! The markers in node titles: `$output.NAME` names outputs, `$name…` declares parameters (`ComfyKit`'s DSL).
//! It reads titles only. `params` and `outputs` give the markers their meaning for a graph.

use super::text::brief;

/// The declarations in a node's title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TitleMarker<'a> {
    /// The node's outputs go by this name.
    Output(&'a str),
    /// Parameters that set inputs of the node; none, for a title that is for people only.
    Params(Vec<ParamMarker<'a>>),
}

/// One `$[~]name[.[~]field][!][:description]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamMarker<'a> {
    /// The caller's key.
    pub name: &'a str,
    /// The input it sets.
    pub field: &'a str,
    /// `~`: the value is a media file that must be on the backend.
    pub media: bool,
    /// `!`: the caller must give it.
    pub required: bool,
    /// The text after the colon.
    pub description: Option<&'a str>,
}

/// A part of a title that begins with `$` and is no marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is no parameter marker; it should look like `$name`, `$name.field!` or `$~name`")]
pub struct InvalidMarker {
    /// The part as written, cut if it is long.
    pub part: String,
}

/// Reads a node's title.
///
/// # Errors
/// [`InvalidMarker`] for the first part that begins with `$` but has no name or field.
pub fn read_title(title: &str) -> Result<TitleMarker<'_>, InvalidMarker> {
    if let Some(name) = title.trim().strip_prefix("$output.").filter(|name| is_name(name)) {
        return Ok(TitleMarker::Output(name));
    }
    let parts = title.split(',').map(str::trim).filter_map(|part| Some((part, part.strip_prefix('$')?)));
    parts
        .map(|(part, marker)| {
            read_param(marker).ok_or_else(|| InvalidMarker { part: brief(part).into_owned() })
        })
        .collect::<Result<_, _>>()
        .map(TitleMarker::Params)
}

fn read_param(marker: &str) -> Option<ParamMarker<'_>> {
    let (head, description) =
        marker.split_once(':').map_or((marker, None), |(head, text)| (head, Some(text.trim())));
    let head = head.trim();
    let (head, required) = head.strip_suffix('!').map_or((head, false), |head| (head, true));
    let (name, field) = head.split_once('.').map_or((head, None), |(name, field)| (name, Some(field)));
    let (name, media_name) = strip_tilde(name);
    let (field, media_field) = field.map_or((name, false), strip_tilde);
    let description = description.filter(|text| !text.is_empty());
    (is_name(name) && is_name(field)).then_some(ParamMarker {
        name,
        field,
        media: media_name || media_field,
        required,
        description,
    })
}

fn strip_tilde(text: &str) -> (&str, bool) {
    text.strip_prefix('~').map_or((text, false), |text| (text, true))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(title: &str) -> ParamMarker<'_> {
        match read_title(title).unwrap() {
            TitleMarker::Params(mut params) if params.len() == 1 => params.remove(0),
            other => panic!("{title}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_parameter() {
        let marker = |name, field, media, required, description| ParamMarker {
            name,
            field,
            media,
            required,
            description,
        };
        assert_eq!(one("$seed"), marker("seed", "seed", false, false, None));
        assert_eq!(one("$prompt.text!"), marker("prompt", "text", false, true, None));
        assert_eq!(one("$~photo.image"), marker("photo", "image", true, false, None));
        assert_eq!(one("$photo.~image!"), marker("photo", "image", true, true, None));
        assert_eq!(
            one("$steps:how many: 1 to 50"),
            marker("steps", "steps", false, false, Some("how many: 1 to 50"))
        );
        assert_eq!(one("Sampler, $cfg! : strength"), marker("cfg", "cfg", false, true, Some("strength")));
    }

    #[test]
    fn one_title_may_declare_several_parameters_and_words_for_people() {
        let TitleMarker::Params(params) = read_title("Size, $width, $height.h!").unwrap() else { panic!() };
        let names: Vec<_> = params.iter().map(|param| (param.name, param.field, param.required)).collect();
        assert_eq!(names, [("width", "width", false), ("height", "h", true)]);
        assert_eq!(read_title("Load Checkpoint").unwrap(), TitleMarker::Params(vec![]));
        assert_eq!(read_title("costs 5$").unwrap(), TitleMarker::Params(vec![]));
    }

    #[test]
    fn output_names_stand_alone() {
        assert_eq!(read_title(" $output.cover ").unwrap(), TitleMarker::Output("cover"));
        // Among other parts it is an ordinary parameter called `output`.
        assert_eq!(one("Save, $output.cover").field, "cover");
    }

    #[test]
    fn a_dollar_without_a_name_is_refused() {
        for title in ["$", "$.x", "$a.", "$!", "$a b", "x, $~", "$a.b.c"] {
            assert!(read_title(title).is_err(), "{title}");
        }
    }
}
