//! Layers: the bundled rows, then the user's own folder, then `--config DIR`; a later row replaces an earlier one
//! with the same identity. Within a folder, prices imported by an update rank below those written by hand.
//!
//! Identity is the id; a rent's is provider, GPU and terms, an API price's provider and model. All rows of an
//! identity in one file stand together (a provider's price on several days), so they are replaced together.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use jiff::civil::Date;

use super::error::Error;
use super::file::{FILES, IMPORTED_API, IMPORTED_HISTORY, IMPORTED_RENTAL, Row, parse};
use super::find::check_names;
use super::update::diff::rent_id;
use super::{ApiPrice, Catalog, Class, Electricity, Gpu, ModelRow, PricePoint, Rental, Score, Vm};
use crate::base::{clock, env};

/// Prices that updates have written into a folder.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) api: Vec<ApiPrice>,
    pub(super) rents: Vec<Rental>,
    pub(super) history: Vec<PricePoint>,
}

impl Catalog {
    /// The rows that come with the program.
    pub fn bundled() -> Self {
        fn embedded<R: Row>() -> Vec<R> {
            parse(R::FILE, R::BUNDLED)
                .unwrap_or_else(|error| unreachable!("a test reads the bundled files: {error}"))
        }
        Self {
            gpus: embedded(),
            rentals: embedded(),
            api_prices: embedded(),
            vms: embedded(),
            electricity: embedded(),
            models: embedded(),
            price_history: embedded(),
            classes: embedded(),
            scores: embedded(),
        }
    }

    /// The bundled rows with the user's over them: first `$XDG_CONFIG_HOME/infercost`, then the folder `config`.
    ///
    /// # Errors
    /// [`Error::Missing`] when `config` does not exist or contains none of the files, [`Error::Invalid`] and
    /// [`Error::Io`] for a file that cannot be used, [`Error::Collision`] when two rows claim one name,
    /// [`Error::Unknown`] when a rent names a GPU that no row describes.
    pub fn load(config: Option<&Path>) -> Result<Self, Error> {
        let user = env::config_folder();
        let today = clock::wall().to_zoned(jiff::tz::TimeZone::UTC).date();
        for folder in std::iter::once(user.as_path()).chain(config) {
            reject_future_dates(folder, today)?;
        }
        Self::layered(&user, config)
    }

    /// [`Catalog::load`] for an update: `config` is where prices will be written, so it may be empty.
    ///
    /// # Errors
    /// As [`Catalog::load`], except that a folder with none of the files is accepted.
    pub fn load_for_update(config: Option<&Path>) -> Result<Self, Error> {
        if let Some(folder) = config.filter(|folder| !folder.is_dir()) {
            return Err(no_folder(folder));
        }
        Self::load(config.filter(|folder| FILES.iter().any(|file| folder.join(file).exists())))
    }

    /// [`Catalog::load`] with an explicit user folder, which may be missing or empty.
    pub(super) fn layered(user: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let mut catalog = Self::bundled();
        catalog.overlay(user)?;
        if let Some(folder) = config {
            if !folder.is_dir() {
                return Err(no_folder(folder));
            }
            if catalog.overlay(folder)? == 0 {
                let reason = format!("this folder contains none of {}", FILES.join(", "));
                return Err(Error::Missing { path: folder.to_owned(), reason });
            }
        }
        catalog.check()?;
        Ok(catalog)
    }

    /// Lays the files of `folder` over the rows; returns how many files there were.
    fn overlay(&mut self, folder: &Path) -> Result<usize, Error> {
        let mut files = 0;
        files += overlay_file(&mut self.gpus, folder, |row: &Gpu| row.id.clone())?;
        files += overlay_file(&mut self.models, folder, |row: &ModelRow| row.id.clone())?;
        // Rents may name a GPU by alias, and the GPU may be new in this folder.
        for file in [IMPORTED_RENTAL, Rental::FILE] {
            let Some(mut rents) = read::<Rental>(folder, file)? else { continue };
            files += 1;
            for rent in &mut rents {
                rent.gpu.clone_from(&self.gpu(&rent.gpu)?.id);
            }
            replace(&mut self.rentals, rents, rent_id);
        }
        for file in [IMPORTED_API, ApiPrice::FILE] {
            let Some(rows) = read(folder, file)? else { continue };
            files += 1;
            replace(&mut self.api_prices, rows, ApiPrice::id);
        }
        files += overlay_file(&mut self.vms, folder, |row: &Vm| row.id.clone())?;
        files += overlay_file(&mut self.electricity, folder, |row: &Electricity| row.id.clone())?;
        for file in [IMPORTED_HISTORY, PricePoint::FILE] {
            let Some(rows) = read(folder, file)? else { continue };
            files += 1;
            replace(&mut self.price_history, rows, PricePoint::id);
        }
        files += overlay_file(&mut self.classes, folder, |row: &Class| row.id.clone())?;
        files += overlay_file(&mut self.scores, folder, Score::id)?;
        Ok(files)
    }

    /// The prices that updates have put into `folder`, and those that they replaced.
    pub(super) fn imported_prices(folder: &Path) -> Result<Imported, Error> {
        Ok(Imported {
            api: read(folder, IMPORTED_API)?.unwrap_or_default(),
            rents: read(folder, IMPORTED_RENTAL)?.unwrap_or_default(),
            history: read(folder, IMPORTED_HISTORY)?.unwrap_or_default(),
        })
    }

    /// Identities of the prices that the user wrote into `folder` by hand.
    pub(super) fn own_prices(folder: &Path) -> Result<(HashSet<String>, HashSet<String>), Error> {
        let mut named = Self::bundled();
        overlay_file(&mut named.gpus, folder, |row: &Gpu| row.id.clone())?;
        let api = read::<ApiPrice>(folder, ApiPrice::FILE)?.unwrap_or_default();
        let mut rents = read::<Rental>(folder, Rental::FILE)?.unwrap_or_default();
        for rent in &mut rents {
            rent.gpu.clone_from(&named.gpu(&rent.gpu)?.id);
        }
        Ok((api.iter().map(ApiPrice::id).collect(), rents.iter().map(rent_id).collect()))
    }

    /// Checks that every name identifies one row.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_names("gpu", self.gpus.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))?;
        check_names("model", self.models.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))?;
        check_names("class", self.classes.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))
    }
}

fn no_folder(folder: &Path) -> Error {
    let reason = "no such folder; --config takes a folder of catalog files".to_owned();
    Error::Missing { path: folder.to_owned(), reason }
}

/// Rejects hand-written prices dated in the future; a time zone may be a day ahead.
fn reject_future_dates(folder: &Path, today: Date) -> Result<(), Error> {
    let latest = today.saturating_add(jiff::Span::new().days(1));
    let rents = read::<Rental>(folder, Rental::FILE)?.unwrap_or_default();
    let rents = rents.iter().filter_map(|row| Some((Rental::FILE, rent_id(row), row.dated()?)));
    let api = read::<ApiPrice>(folder, ApiPrice::FILE)?.unwrap_or_default();
    let api = api.iter().map(|row| (ApiPrice::FILE, row.id(), row.as_of));
    let Some((file, id, day)) = rents.chain(api).find(|(.., day)| *day > latest) else { return Ok(()) };
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let at = text.find(&day.to_string()).unwrap_or(0);
    Err(Error::Invalid {
        file: path.display().to_string(),
        line: text[..at].matches('\n').count() + 1,
        reason: format!(
            "`{id}` is dated {day}, which is in the future; write the day on which its price was seen"
        ),
    })
}

/// Overlays the file of this row type in `folder`, if it exists, onto `rows`; returns the number of files read.
fn overlay_file<R: Row>(
    rows: &mut Vec<R>,
    folder: &Path,
    identity: impl Fn(&R) -> String,
) -> Result<usize, Error> {
    let Some(newer) = read(folder, R::FILE)? else { return Ok(0) };
    replace(rows, newer, identity);
    Ok(1)
}

/// The rows of one file in `folder`, if it exists.
fn read<R: Row>(folder: &Path, file: &str) -> Result<Option<Vec<R>>, Error> {
    let path = folder.join(file);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(Error::Io { path, source }),
    };
    parse(&path.display().to_string(), &text).map(Some)
}

fn replace<R>(rows: &mut Vec<R>, newer: Vec<R>, identity: impl Fn(&R) -> String) {
    let replaced: HashSet<String> = newer.iter().map(&identity).collect();
    rows.retain(|row| !replaced.contains(&identity(row)));
    rows.extend(newer);
}
