//! `bench cost RECORD…`: prices records again, a new view and never an edit.

use crate::catalog::Catalog;
use crate::cost::{self, Assumptions};
use crate::record::{self, Record, Verdict};
use crate::report::terminal;

use super::args::CostArgs;
use super::{Output, exit};

pub(super) fn run(args: &CostArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let assume = Assumptions {
        blend_ratio: args.blend,
        utilization: args.utilization,
        ..Assumptions::default()
    };
    let mut views = Vec::new();
    for path in &args.records {
        let record = record::read::read(path)?;
        if record.validity.verdict == Verdict::Invalid && !args.allow_invalid {
            return Err(exit::Invalid(format!(
                "{} is invalid ({}), so its dollars would be of something else; --allow-invalid prices it all the same",
                path.display(),
                reasons(&record)
            ))
            .into());
        }
        let price = match args.price_per_hour {
            Some(usd) => Ok(cost::given_price(usd)),
            None => record
                .cost
                .price
                .clone()
                .ok_or_else(|| "the record has no price; give one with --price-per-hour USD".to_owned()),
        };
        let mut cost = cost::assess(&record.measurements, price, assume);
        cost::electricity(&mut cost, &record.measurements, catalog);
        cost::api_comparison(
            &mut cost,
            record.model.catalog_id.as_deref(),
            &args.api,
            catalog,
            super::today(),
        )?;
        if output.json {
            views.push(serde_json::json!({ "record": path, "id": record.id, "model": record.model.id, "cost": cost }));
        } else {
            let style = output.human_style();
            let head = format!("{} · {} · {}", record.model.name, record.model.quantization, path.display());
            output.human(&format!("{}\n", style.strong(&head)))?;
            output.human(&terminal::render_cost(&cost, style))?;
        }
    }
    if output.json {
        output.stdout(&(record::write::to_json(&views)? + "\n"))?;
    }
    Ok(())
}

fn reasons(record: &Record) -> String {
    let failed = record.validity.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
    failed.map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ")
}
