//! `bench catalog prices`: the prices that the filters match, sorted, as tables or JSON.

use std::cmp::Reverse;

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::catalog::{ApiPrice, Catalog, Electricity, Error, Rental, RentalKind, Vm};
use crate::cli::usage;

use super::tables;

#[derive(Debug, Clone, Args)]
pub(super) struct PricesArgs {
    /// Which prices: `rental`, `api`, `vms` or `electricity`; or a GPU, a model that APIs sell, or a provider
    /// [default: all that match the filters]
    #[arg(value_name = "KIND|NAME")]
    what: Option<String>,
    /// The kind that `what` names.
    #[arg(skip)]
    kind: Option<PriceKind>,
    /// Rents of this GPU or family
    #[arg(long, value_name = "ID")]
    gpu: Option<String>,
    /// API prices of models whose name contains this
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Prices of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Rents on these terms: `on_demand`, `spot`, `reserved_1y` …
    #[arg(long, value_name = "TERMS", value_parser = terms)]
    terms: Option<RentalKind>,
    /// Sort order; rents stay grouped by GPU [default: the catalog's order]
    #[arg(long, value_enum, value_name = "KEY")]
    sort: Option<Sort>,
}

impl PricesArgs {
    /// The same with the name that was given in its own place: a kind, a GPU, a model or a provider.
    pub(super) fn resolved(&self, catalog: &Catalog) -> anyhow::Result<Self> {
        let mut found = self.clone();
        let Some(name) = &self.what else { return Ok(found) };
        let into = |place: &mut Option<String>, flag: &str| {
            if place.is_some() {
                let reason = format!("`{name}` already names one; give only one of them");
                return Err(usage(flag, &reason));
            }
            *place = Some(name.clone());
            Ok(())
        };
        if let Ok(kind) = PriceKind::from_str(name, true) {
            found.kind = Some(kind);
        } else if catalog.gpu(name).is_ok() || catalog.gpu_family(name).is_ok() {
            into(&mut found.gpu, "--gpu")?;
        } else if catalog.sold_model(name).is_ok() {
            into(&mut found.model, "--model")?;
        } else if catalog.selling_provider(name).is_ok() {
            into(&mut found.provider, "--provider")?;
        } else {
            let near = [
                catalog.gpu(name).err(),
                catalog.sold_model(name).err(),
                catalog.selling_provider(name).err(),
            ];
            let near: Vec<String> = near
                .into_iter()
                .flatten()
                .filter_map(|error| match error {
                    Error::Unknown { nearest, .. } => nearest.into_iter().next(),
                    _ => None,
                })
                .collect();
            let near = if near.is_empty() {
                String::new()
            } else {
                format!("; did you mean {}?", near.join(" or "))
            };
            return Err(usage(
                name,
                &format!(
                    "no kind of price (rental, api, vms, electricity), GPU, sold model or provider has this name{near}"
                ),
            ));
        }
        Ok(found)
    }
}

/// Order of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Cheapest first: APIs by a 3:1 blend, machines by price per vCPU
    Price,
    /// APIs with the cheapest input first
    Input,
    /// APIs with the cheapest output first
    Output,
    /// By provider and name
    Name,
    /// Most recently seen first
    Date,
}

/// The terms of a rent, as its files and tables call them.
fn terms(text: &str) -> Result<RentalKind, String> {
    let wanted = text.trim().to_lowercase().replace('-', "_");
    let known = || RentalKind::ALL.map(RentalKind::label).join(", ");
    RentalKind::ALL
        .into_iter()
        .find(|kind| kind.label() == wanted)
        .ok_or_else(|| format!("terms are one of {}", known()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PriceKind {
    /// Renting a GPU, USD per GPU-hour
    Rental,
    /// Tokens of a managed API, USD per million
    Api,
    /// Renting a machine without a GPU, USD per hour
    Vms,
    /// Electricity, USD per kWh
    Electricity,
}

/// The prices that the filters leave; a kind that was not asked for is absent.
pub(super) struct Prices<'a> {
    rental: Option<Vec<&'a Rental>>,
    api: Option<Vec<&'a ApiPrice>>,
    vms: Option<Vec<&'a Vm>>,
    electricity: Option<Vec<&'a Electricity>>,
}

impl<'a> Prices<'a> {
    pub(super) fn select(args: &PricesArgs, catalog: &'a Catalog) -> anyhow::Result<Self> {
        refuse_filters(args, catalog)?;
        // `--gpu` speaks of rents only and `--model` of APIs only, so either narrows the kinds.
        let wanted = |kind| match args.kind {
            Some(asked) => asked == kind,
            None if (args.gpu.is_some() || args.terms.is_some()) && args.model.is_some() => {
                matches!(kind, PriceKind::Rental | PriceKind::Api)
            }
            None if args.gpu.is_some() || args.terms.is_some() => kind == PriceKind::Rental,
            None if args.model.is_some() => kind == PriceKind::Api,
            None if args.provider.is_some() => kind != PriceKind::Electricity,
            None => true,
        };
        let cards: Option<Vec<&str>> = match &args.gpu {
            Some(id) if catalog.gpus.iter().any(|gpu| gpu.family.eq_ignore_ascii_case(id)) => {
                Some(catalog.gpu_family(id)?.into_iter().map(|gpu| gpu.id.as_str()).collect())
            }
            Some(id) => Some(vec![catalog.gpu(id)?.id.as_str()]),
            None => None,
        };
        let from =
            |provider: &str| args.provider.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(provider));
        let part = args.model.as_ref().map(|name| name.to_lowercase());
        let called = |model: &str| part.as_ref().is_none_or(|part| model.to_lowercase().contains(part));
        let mut rental: Vec<&Rental> = catalog
            .rentals
            .iter()
            .filter(|row| {
                from(&row.provider)
                    && args.terms.is_none_or(|terms| terms == row.kind)
                    && cards.as_ref().is_none_or(|cards| cards.contains(&row.gpu.as_str()))
            })
            .collect();
        let mut api: Vec<&ApiPrice> =
            catalog.api_prices.iter().filter(|row| from(&row.provider) && called(&row.model)).collect();
        let mut vms: Vec<&Vm> = catalog.vms.iter().filter(|row| from(&row.provider)).collect();
        let mut electricity: Vec<&Electricity> = catalog.electricity.iter().collect();
        match args.sort {
            None => rental.sort_by_key(|row| (row.kind.label(), row.usd_per_gpu_hour)),
            Some(Sort::Price | Sort::Input | Sort::Output) => {
                rental.sort_by_key(|row| row.usd_per_gpu_hour);
                api.sort_by_key(|row| match args.sort {
                    Some(Sort::Input) => row.input_usd_per_mtok,
                    Some(Sort::Output) => row.output_usd_per_mtok,
                    _ => row.input_usd_per_mtok * Decimal::from(3) + row.output_usd_per_mtok,
                });
                vms.sort_by_key(|row| row.usd_per_hour / Decimal::from(row.vcpus));
                electricity.sort_by_key(|row| row.usd_per_kwh);
            }
            Some(Sort::Name) => {
                rental.sort_by(|a, b| {
                    (&a.provider, a.usd_per_gpu_hour).cmp(&(&b.provider, b.usd_per_gpu_hour))
                });
                api.sort_by_key(|row| row.id());
                vms.sort_by(|a, b| a.id.cmp(&b.id));
                electricity.sort_by(|a, b| a.id.cmp(&b.id));
            }
            Some(Sort::Date) => {
                rental.sort_by_key(|row| Reverse(row.dated()));
                api.sort_by_key(|row| Reverse(row.as_of));
                vms.sort_by_key(|row| Reverse(row.observed));
                electricity.sort_by_key(|row| Reverse(row.observed));
            }
        }
        // A table is headed by its card, whatever the order within.
        rental.sort_by_key(|row| catalog.gpus.iter().position(|gpu| gpu.id == row.gpu));
        Ok(Self {
            rental: wanted(PriceKind::Rental).then_some(rental),
            api: wanted(PriceKind::Api).then_some(api),
            vms: wanted(PriceKind::Vms).then_some(vms),
            electricity: wanted(PriceKind::Electricity).then_some(electricity),
        })
    }

    pub(super) fn tables(&self, args: &PricesArgs, catalog: &Catalog, today: Date) -> Result<String, Error> {
        let mut parts = Vec::new();
        if let Some(rows) = &self.rental {
            let default = args.gpu.as_ref().map(|id| catalog.gpu(id)).transpose()?;
            let default = default.map(|gpu| (gpu, catalog.rental_price(gpu, today)));
            let mut text = tables::rental(rows, default, today);
            if let Some(id) = &args.gpu {
                let (taken, others) = (&catalog.gpu(id)?.id, catalog.other_forms(id).join(", "));
                if !others.is_empty() {
                    text = format!(
                        "{text}`{id}` means {taken} here; name the card if you mean one of\n{others}\n"
                    );
                }
            }
            parts.push(text);
        }
        if let Some(rows) = &self.api {
            parts.push(tables::api(rows, today));
        }
        if let Some(rows) = &self.vms {
            parts.push(tables::vms(rows, today));
        }
        if let Some(rows) = &self.electricity {
            parts.push(tables::electricity(rows));
        }
        Ok(parts.join("\n"))
    }

    pub(super) fn json(&self) -> Value {
        let kinds = [
            ("rental", self.rental.as_ref().map(|rows| json!(rows))),
            ("api", self.api.as_ref().map(|rows| json!(rows))),
            ("vms", self.vms.as_ref().map(|rows| json!(rows))),
            ("electricity", self.electricity.as_ref().map(|rows| json!(rows))),
        ];
        kinds
            .into_iter()
            .filter_map(|(name, rows)| Some((name.to_owned(), rows?)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Refuses a filter that the kind asked for does not know, and a provider or model that no price has.
fn refuse_filters(args: &PricesArgs, catalog: &Catalog) -> anyhow::Result<()> {
    use PriceKind::{Api, Electricity, Rental, Vms};
    let filters: [(&str, bool, &[PriceKind], &str); 4] = [
        ("--gpu", args.gpu.is_some(), &[Rental], "`bench catalog prices rental`"),
        ("--terms", args.terms.is_some(), &[Rental], "`bench catalog prices rental`"),
        ("--model", args.model.is_some(), &[Api], "`bench catalog prices api`"),
        ("--provider", args.provider.is_some(), &[Rental, Api, Vms], "every other table of prices"),
    ];
    if let Some(kind) = args.kind {
        let wrong = filters.iter().find(|(_, given, kinds, _)| *given && !kinds.contains(&kind));
        if let Some((flag, _, _, other)) = wrong {
            let table = match kind {
                Rental => "rents have",
                Api => "API prices have",
                Vms => "virtual machines have",
                Electricity => "electricity has",
            };
            let what = flag.trim_start_matches('-');
            return Err(usage(flag, &format!("{table} no {what}; {other} has it")));
        }
    }
    if let Some(name) = &args.provider {
        catalog.selling_provider(name)?;
    }
    if let Some(name) = &args.model {
        catalog.sold_model(name)?;
    }
    Ok(())
}
