//! Maps an imported file's names of providers and models to the catalog's.
//!
//! A row updates the row with the same provider and the same id in the provider's own spelling. Hosts of the same weights
//! share a model name: an id gets the catalog's name for its last part, else that part itself, unless another row of the
//! provider has it; then it keeps the whole id. Nothing is guessed from similarity.

use std::collections::{HashMap, HashSet};

use crate::Catalog;
use crate::find::plain;

/// Other names of providers in LiteLLM, genai-prices, models.dev, gpuhunt and SkyPilot.
const PROVIDERS: [(&str, &str); 19] = [
    ("amazon-bedrock", "bedrock"),
    ("aws-bedrock", "bedrock"),
    ("bedrock-converse", "bedrock"),
    ("cohere-chat", "cohere"),
    ("datacrunch", "verda"),
    ("do", "digitalocean"),
    ("fireworks-ai", "fireworks"),
    ("gemini", "google"),
    ("google-ai-studio", "google"),
    ("lambdalabs", "lambda"),
    ("lambda-labs", "lambda"),
    ("nebius-ai", "nebius"),
    ("novita-ai", "novita"),
    ("prime-intellect", "primeintellect"),
    ("text-completion-openai", "openai"),
    ("together-ai", "together"),
    ("togetherai", "together"),
    ("vastai", "vast"),
    ("x-ai", "xai"),
];

/// The catalog's name for a provider.
pub(super) fn provider(name: &str) -> String {
    let name = plain(name);
    PROVIDERS.iter().find(|(other, _)| *other == name).map_or(name, |(_, ours)| (*ours).to_owned())
}

/// The id without the provider prefix, which LiteLLM writes and the others do not.
fn bare(provider_names: [&str; 2], id: &str) -> String {
    let id = id.trim();
    for name in provider_names {
        if let Some((first, rest)) = id.split_once('/')
            && !rest.is_empty()
            && (first == name || provider(first) == provider(name))
        {
            return rest.to_owned();
        }
    }
    id.to_owned()
}

/// The last part of an id: `meta-llama/Llama-3-70b-chat-hf` ends in `llama-3-70b-chat-hf`.
fn tail(id: &str) -> String {
    plain(id.rsplit('/').next().unwrap_or(id))
}

/// Model names of a catalog, and those already assigned to an offer.
#[derive(Debug)]
pub(super) struct Words {
    /// Provider and bare id to model name.
    exact: HashMap<(String, String), String>,
    /// Last part of an id, or the model name itself, to model name.
    tails: HashMap<String, String>,
    /// Model names that a provider's rows already have.
    held: HashSet<(String, String)>,
}

impl Words {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut words = Self { exact: HashMap::new(), tails: HashMap::new(), held: HashSet::new() };
        for row in &catalog.api_prices {
            let id = bare([&row.provider, &row.provider], &row.source_model_id);
            words.exact.insert((row.provider.clone(), plain(&id)), row.model.clone());
            words.tails.insert(tail(&id), row.model.clone());
            words.held.insert((row.provider.clone(), row.model.clone()));
        }
        for row in &catalog.api_prices {
            words.tails.insert(plain(&row.model), row.model.clone());
        }
        words
    }

    /// A model name for each `(the file's provider, our provider, id)`; each pair of provider and model name once. An id that
    /// comes twice gets `None` the second time.
    pub(super) fn assign(&mut self, rows: &[(&str, &str, &str)]) -> Vec<Option<String>> {
        let bared: Vec<String> = rows.iter().map(|(theirs, ours, id)| bare([theirs, ours], id)).collect();
        let mut taken: HashSet<(&str, String)> = HashSet::new();
        let mut seen: HashSet<(&str, String)> = HashSet::new();
        let again: Vec<bool> =
            rows.iter().zip(&bared).map(|((_, ours, _), id)| !seen.insert((ours, plain(id)))).collect();
        let mut found: Vec<Option<String>> = Vec::with_capacity(rows.len());
        for (((_, ours, _), id), again) in rows.iter().zip(&bared).zip(&again) {
            if *again {
                found.push(None);
                continue;
            }
            let word = self.exact.get(&((*ours).to_owned(), plain(id)));
            found.push(word.filter(|word| taken.insert((ours, (*word).clone()))).cloned());
        }
        // The shortest id is the most generic one: `meta.llama3-70b` goes before `us-east-1/meta.llama3-70b`.
        let mut rest: Vec<usize> = (0..rows.len()).filter(|at| found[*at].is_none() && !again[*at]).collect();
        rest.sort_by_key(|at| bared[*at].len());
        for at in rest {
            let (ours, id) = (rows[at].1, &bared[at]);
            let short = self.tails.get(&tail(id)).cloned().unwrap_or_else(|| tail(id));
            let held = short.is_empty() || self.held.contains(&(ours.to_owned(), short.clone()));
            let chosen = if held || taken.contains(&(ours, short.clone())) { plain(id) } else { short };
            found[at] = taken.insert((ours, chosen.clone())).then_some(chosen);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gets_the_word_of_the_row_that_it_means() {
        let mut words = Words::of(&Catalog::bundled());
        let rows = [
            // The same id as in the catalog, with and without LiteLLM's provider before it.
            ("groq", "groq", "llama-3.1-8b-instant"),
            ("deepinfra", "deepinfra", "deepinfra/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
            // A host that the catalog does not have, of weights that it knows.
            ("novita-ai", "novita", "deepseek/deepseek-r1"),
            // Another id of the same last part does not push the provider's row out.
            ("openrouter", "openrouter", "somebody/deepseek-r1"),
            ("openrouter", "openrouter", "deepseek/deepseek-r1"),
            ("openai", "openai", "gpt-9"),
            ("openai", "openai", "gpt-9"),
            // Twice with a maker in it, and twice of an id that the catalog has.
            ("openrouter", "openrouter", "a/b"),
            ("openrouter", "openrouter", "a/b"),
            ("groq", "groq", "groq/llama-3.1-8b-instant"),
            ("bedrock", "bedrock", "eu-west-1/acme.model-v1:0"),
            ("bedrock_converse", "bedrock", "acme.model-v1:0"),
            ("deepinfra", "deepinfra", "deepseek-ai/DeepSeek-V9"),
        ];
        let expected = [
            Some("llama-3.1-8b"),
            Some("llama-3.3-70b"),
            Some("deepseek-r1"),
            Some("somebody/deepseek-r1"),
            Some("deepseek-r1"),
            Some("gpt-9"),
            None,
            Some("b"),
            None,
            None,
            Some("eu-west-1/acme.model-v1:0"),
            Some("acme.model-v1:0"),
            Some("deepseek-v9"),
        ];
        let found = words.assign(&rows);
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_provider_has_one_name() {
        for (theirs, ours) in [
            ("together_ai", "together"),
            ("bedrock_converse", "bedrock"),
            ("amazon-bedrock", "bedrock"),
            ("gemini", "google"),
            ("Groq", "groq"),
        ] {
            assert_eq!(provider(theirs), ours);
        }
    }
}
