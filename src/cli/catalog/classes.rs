//! The capability classes, each with its threshold, its members and their published scores.

use serde_json::{Value, json};

use crate::base::text::printable;
use crate::catalog::{Catalog, Score};
use crate::report::format::wrap;

/// Text of at most 80 columns, and the same whole.
pub(super) fn view(catalog: &Catalog) -> (String, Value) {
    let mut lines: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for class in &catalog.classes {
        let mut members: Vec<&Score> = catalog
            .scores
            .iter()
            .filter(|score| score.benchmark == class.benchmark && score.percent >= class.at_least)
            .collect();
        members.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        lines.push(format!("{}  {}, {}", class.id, class.name, class.gate()));
        lines.extend(wrap(&class.source, 74).iter().map(|line| format!("  {line}")));
        let names = members.iter().map(|score| {
            let reasoning = if score.reasoning { " (reasoning: in no curve)" } else { "" };
            format!("{} {}{reasoning}", score.model, score.percent)
        });
        let names = names.collect::<Vec<_>>().join(", ");
        lines.extend(wrap(&names, 74).iter().map(|line| format!("    {line}")));
        all.push(json!({ "class": class, "members": members }));
    }
    let text: String = lines.iter().map(|line| printable(line) + "\n").collect();
    (text, json!({ "classes": all }))
}
