//! Layers: the bundled rows, then the user's own folder, then `--config DIR`; a later row replaces an earlier one
//! that answers to the same identity.
//!
//! Identity is the id; a rent's is provider, GPU and terms, an API price's provider and model. All rows of an
//! identity in one file stand together (a provider's price on several days), so they are replaced together.

use std::io::ErrorKind;
use std::path::Path;

use super::error::Error;
use super::file::{FILES, Row, parse};
use super::find::check_names;
use super::{ApiPrice, Catalog, Class, Electricity, Gpu, ModelRow, PricePoint, Rental, Score, Vm};
use crate::base::env;

impl Catalog {
    /// The rows that come with the program.
    pub fn bundled() -> Self {
        fn read<R: Row>() -> Vec<R> {
            parse(R::FILE, R::BUNDLED)
                .unwrap_or_else(|error| unreachable!("a test reads the bundled files: {error}"))
        }
        Self {
            gpus: read(),
            rentals: read(),
            api_prices: read(),
            vms: read(),
            electricity: read(),
            models: read(),
            price_history: read(),
            classes: read(),
            scores: read(),
        }
    }

    /// The bundled rows with the user's over them: first `$XDG_CONFIG_HOME/infercost`, then the folder `config`.
    ///
    /// # Errors
    /// [`Error::Missing`] when `config` is not there or holds none of the files, [`Error::Invalid`] and
    /// [`Error::Io`] for a file that cannot be used, [`Error::Collision`] when two rows claim one name,
    /// [`Error::Unknown`] when a rent names a GPU that no row describes.
    pub fn load(config: Option<&Path>) -> Result<Self, Error> {
        Self::layered(&env::config_folder(), config)
    }

    /// [`Catalog::load`] with the user's folder stated; that one may be missing or empty.
    pub(super) fn layered(user: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let mut catalog = Self::bundled();
        catalog.overlay(user)?;
        if let Some(folder) = config {
            if !folder.is_dir() {
                let reason = "there is no such folder; --config takes a folder of catalog files";
                return Err(Error::Missing { path: folder.to_owned(), reason: reason.to_owned() });
            }
            if catalog.overlay(folder)? == 0 {
                let reason = format!("none of {} is in this folder", FILES.join(", "));
                return Err(Error::Missing { path: folder.to_owned(), reason });
            }
        }
        catalog.check()?;
        Ok(catalog)
    }

    /// Lays the files of `folder` over the rows; returns how many files there were.
    fn overlay(&mut self, folder: &Path) -> Result<usize, Error> {
        let mut files = 0;
        files += lay(&mut self.gpus, folder, |row: &Gpu| row.id.clone())?;
        files += lay(&mut self.models, folder, |row: &ModelRow| row.id.clone())?;
        // Rents may name a GPU by alias, and the GPU may be new in this folder.
        let mut rents = Vec::new();
        files += lay(&mut rents, folder, |_: &Rental| String::new())?;
        for rent in &mut rents {
            rent.gpu.clone_from(&self.gpu(&rent.gpu)?.id);
        }
        replace(&mut self.rentals, rents, |row| format!("{}/{}/{}", row.provider, row.gpu, row.kind.label()));
        files += lay(&mut self.api_prices, folder, ApiPrice::id)?;
        files += lay(&mut self.vms, folder, |row: &Vm| row.id.clone())?;
        files += lay(&mut self.electricity, folder, |row: &Electricity| row.id.clone())?;
        files += lay(&mut self.price_history, folder, PricePoint::id)?;
        files += lay(&mut self.classes, folder, |row: &Class| row.id.clone())?;
        files += lay(&mut self.scores, folder, Score::id)?;
        Ok(files)
    }

    /// Every name leads to one row.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_names("gpu", self.gpus.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))?;
        check_names("model", self.models.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))?;
        check_names("class", self.classes.iter().map(|row| (row.id.as_str(), row.aliases.as_slice())))
    }
}

/// Reads `folder`'s file of this kind of row, when there is one, and lays it over `rows`; returns how many files
/// there were.
fn lay<R: Row>(rows: &mut Vec<R>, folder: &Path, identity: impl Fn(&R) -> String) -> Result<usize, Error> {
    let path = folder.join(R::FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(0),
        Err(source) => return Err(Error::Io { path, source }),
    };
    replace(rows, parse(&path.display().to_string(), &text)?, identity);
    Ok(1)
}

fn replace<R>(rows: &mut Vec<R>, newer: Vec<R>, identity: impl Fn(&R) -> String) {
    let replaced: std::collections::HashSet<String> = newer.iter().map(&identity).collect();
    rows.retain(|row| !replaced.contains(&identity(row)));
    rows.extend(newer);
}
