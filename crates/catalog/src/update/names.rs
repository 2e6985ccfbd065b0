//! What a stranger's file calls a provider and a model, in the catalog's words.
//!
//! A row updates the row that it means: of the same provider and the same id in the provider's own spelling. Hosts of
//! the same weights share a word: an id gets the word that the catalog has for its last part, else that part itself,
//! unless another row of the provider has it; then it keeps the whole id. Nothing is guessed from likeness.

use std::collections::{HashMap, HashSet};

use crate::Catalog;
use crate::find::plain;

/// A provider's other names: those of LiteLLM, genai-prices, models.dev, gpuhunt and SkyPilot.
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

/// The catalog's word for a provider.
pub(super) fn provider(name: &str) -> String {
    let name = plain(name);
    PROVIDERS.iter().find(|(other, _)| *other == name).map_or(name, |(_, ours)| (*ours).to_owned())
}

/// The id without the provider before it, which LiteLLM writes and the others do not.
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

/// The words of a catalog, and those that an offer has taken.
#[derive(Debug)]
pub(super) struct Words {
    /// Provider and bare id to word.
    exact: HashMap<(String, String), String>,
    /// Last part of an id, or the word itself, to word.
    tails: HashMap<String, String>,
    /// Words that a provider's row already has.
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

    /// A word for each `(the file's provider, our provider, id)`; each pair of provider and word once. An id that comes
    /// twice has none the second time.
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
        // The shortest id is the plainest one: `meta.llama3-70b` goes before `us-east-1/meta.llama3-70b`.
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
