//! Which models a server has.

use serde_json::Value;

use crate::Error;
use crate::base::requests::{Ending, Failure};
use crate::client::Client;
use crate::target::Target;

/// A model as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name in requests.
    pub id: String,
    /// Tokens of context, where the server says (`max_model_len`, or llama.cpp's `meta.n_ctx_train`).
    pub context: Option<u64>,
    /// Whom the server names as its owner: servers name themselves there (`vllm`, `sglang`, `llamacpp`).
    pub owner: Option<String>,
    /// Size of the vocabulary, where the server says (llama.cpp's `meta.n_vocab`).
    pub vocabulary: Option<u64>,
}

/// Asks the server for its models (`/v1/models`).
///
/// # Errors
/// A setting that is wrong, a server that does not answer, or an answer that is no such list.
pub fn models(target: &Target) -> Result<Vec<Model>, Error> {
    let body = Client::new(target)?.fetch(target.models_request())?;
    let list = serde_json::from_slice::<Value>(&body).ok();
    let Some(list) = list.as_ref().and_then(|list| list["data"].as_array()) else {
        let detail = format!("{}/models is not a list of models: {}", target.url, target.scrub(&body));
        return Err(Failure::new(Ending::MalformedJson, detail).into());
    };
    let model = |entry: &Value| {
        Some(Model {
            id: entry["id"].as_str()?.to_owned(),
            context: entry["max_model_len"].as_u64().or_else(|| entry["meta"]["n_ctx_train"].as_u64()),
            owner: entry["owned_by"].as_str().map(str::to_owned),
            vocabulary: entry["meta"]["n_vocab"].as_u64(),
        })
    };
    Ok(list.iter().filter_map(model).collect())
}
