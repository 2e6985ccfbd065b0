//! TLS: whom to trust.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::target::{Invalid, Target, Url};

/// The settings of all connections to a server; `None` without TLS.
pub(crate) fn settings(target: &Target) -> Result<Option<Arc<ClientConfig>>, Invalid> {
    if !target.url.is_https {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match &target.authorities {
        Some(file) => add(file, &mut roots)?,
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Invalid::Url("this build has no TLS"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

fn add(file: &Path, roots: &mut RootCertStore) -> Result<(), Invalid> {
    let wrong = |reason: String| Invalid::File { path: file.to_owned(), reason };
    let found =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(format!("cannot be read ({error})")))?;
    for certificate in found {
        let certificate =
            certificate.map_err(|error| wrong(format!("is not a certificate in PEM ({error})")))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("has a certificate that cannot be used ({error})")))?;
    }
    if roots.is_empty() {
        return Err(wrong("has no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(())
}

/// The name that a server's certificate must have.
pub(crate) fn name(url: &Url) -> Result<ServerName<'static>, Invalid> {
    ServerName::try_from(url.host.clone())
        .map_err(|_| Invalid::Url("the host is not a name that can be in a certificate"))
}

/// A session that has not begun.
pub(crate) fn session(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
) -> Result<Box<ClientConnection>, rustls::Error> {
    let mut session = ClientConnection::new(Arc::clone(config), name.clone())?;
    // A prompt of any length is taken at once.
    session.set_buffer_limit(None);
    Ok(Box::new(session))
}
