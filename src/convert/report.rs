//! Reports for the caller: faults, which stop a conversion, and warnings, which do not.

use crate::domain::text::brief;

/// Why a file cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertFault {
    /// The node at fault, if one is: its id in the API graph, as in `10:2`.
    pub node_id: Option<String>,
    /// Its title, as the editor shows it.
    pub title: Option<String>,
    /// Its class.
    pub class_type: Option<String>,
    /// One sentence a web developer can act on.
    pub message: String,
}

/// A part that was converted, but perhaps not as its author intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionWarning {
    /// The node concerned, if one is: its id in the API graph.
    pub node_id: Option<String>,
    /// Its title, as the editor shows it.
    pub title: Option<String>,
    /// One sentence.
    pub message: String,
}

/// A node as it is named in reports.
#[derive(Debug, Clone)]
pub(super) struct NodePlace {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) class: String,
}

/// Shortens a text that is repeated in a report.
pub(super) fn shortened(text: &str) -> String {
    brief(text).into_owned()
}

impl NodePlace {
    /// A node with its names, shortened.
    pub(super) fn new(id: &str, title: &str, class: &str) -> Self {
        Self { id: shortened(id), title: shortened(title), class: shortened(class) }
    }
}

/// The most faults and the most warnings that are reported. Further ones are only counted.
const MOST: usize = 100;

/// Collects faults and warnings.
#[derive(Debug, Default)]
pub(super) struct ConversionReport {
    faults: Vec<ConvertFault>,
    warnings: Vec<ConversionWarning>,
    more_faults: usize,
    more_warnings: usize,
}

impl ConversionReport {
    /// A fault of the whole file.
    pub(super) fn fault(&mut self, message: impl Into<String>) {
        self.add_fault(ConvertFault {
            node_id: None,
            title: None,
            class_type: None,
            message: message.into(),
        });
    }

    /// A fault of one node.
    pub(super) fn fault_at(&mut self, place: NodePlace, message: impl Into<String>) {
        self.add_fault(ConvertFault {
            node_id: Some(place.id),
            title: Some(place.title),
            class_type: Some(place.class),
            message: message.into(),
        });
    }

    fn add_fault(&mut self, fault: ConvertFault) {
        if self.faults.len() == MOST {
            self.more_faults += 1;
        } else if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// A warning about the whole file.
    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.add_warning(ConversionWarning { node_id: None, title: None, message: message.into() });
    }

    /// A warning about one node.
    pub(super) fn warn_at(&mut self, place: NodePlace, message: impl Into<String>) {
        self.add_warning(ConversionWarning {
            node_id: Some(place.id),
            title: Some(place.title),
            message: message.into(),
        });
    }

    fn add_warning(&mut self, warning: ConversionWarning) {
        if self.warnings.len() == MOST {
            self.more_warnings += 1;
        } else if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Whether a fault stops the conversion.
    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// All reports, with the number of further ones.
    pub(super) fn into_parts(mut self) -> (Vec<ConvertFault>, Vec<ConversionWarning>) {
        if self.more_faults > 0 {
            let message = format!("{} more faults are not listed", self.more_faults);
            self.faults.push(ConvertFault { node_id: None, title: None, class_type: None, message });
        }
        if self.more_warnings > 0 {
            let message = format!("{} more warnings are not listed", self.more_warnings);
            self.warnings.push(ConversionWarning { node_id: None, title: None, message });
        }
        (self.faults, self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_are_told_and_the_rest_counted() {
        let mut report = ConversionReport::default();
        for number in 0..150 {
            report.fault(format!("fault {number}"));
            report.warn(format!("warning {number}"));
            report.warn("warning 0");
        }
        assert!(report.has_faults());
        let (faults, warnings) = report.into_parts();
        assert_eq!((faults.len(), warnings.len()), (101, 101));
        assert_eq!(faults[100].message, "50 more faults are not listed");
    }

    #[test]
    fn a_node_is_named_by_id_title_and_class() {
        let mut report = ConversionReport::default();
        let place = || NodePlace { id: "10:2".to_owned(), title: "T".to_owned(), class: "C".to_owned() };
        report.warn_at(place(), "odd");
        report.warn_at(place(), "odd");
        assert!(!report.has_faults());
        report.fault_at(place(), "broken");
        let (faults, warnings) = report.into_parts();
        assert_eq!(warnings.len(), 1);
        let fault = &faults[0];
        assert_eq!((fault.node_id.as_deref(), fault.class_type.as_deref()), (Some("10:2"), Some("C")));
    }
}
