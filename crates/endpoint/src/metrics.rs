//! What a server reports outside the API: its counts for all clients, from its Prometheus page, and whether it is
//! healthy.

use crate::Error;
use crate::base::requests::Ending;
use crate::client::Client;
use crate::target::Target;

/// Counters of output tokens since the server's start: vLLM's, SGLang's, llama.cpp's.
const GENERATED: [&str; 3] =
    ["vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total"];

/// Output tokens that the server has generated since its start, for whomever; `None` where it has no such page or counter.
pub(crate) fn generated_tokens(target: &Target) -> Option<f64> {
    let page = Client::new(target).ok()?.fetch(target.beside_request("/metrics")).ok()?;
    generated(&String::from_utf8_lossy(&page))
}

/// Whether the server says that it can answer: by `/health`, which those have that load a model after they listen, else by
/// its list of models.
pub fn is_healthy(target: &Target) -> bool {
    let asked = |request| Client::new(target).and_then(|mut client| client.fetch(request));
    match asked(target.beside_request("/health")) {
        Ok(_) => true,
        Err(Error::Failed(failure)) if failure.ending == Ending::NotFound => {
            asked(target.models_request()).is_ok()
        }
        Err(_) => false,
    }
}

/// The counter's sum over its labels.
fn generated(page: &str) -> Option<f64> {
    GENERATED.iter().find_map(|name| {
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            // Another name may begin the same.
            rest.starts_with(['{', ' ']).then_some(())?;
            rest.rsplit('}').next()?.split_whitespace().next()?.parse::<f64>().ok()
        });
        values.reduce(|sum, value| sum + value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let page = "# HELP vllm:generation_tokens_total Number.\n# TYPE vllm:generation_tokens_total counter\n\
                    vllm:generation_tokens_total{engine=\"0\",model_name=\"a b\"} 1200.0\n\
                    vllm:generation_tokens_total{engine=\"1\",model_name=\"a b\"} 34.0 1700000000000\n\
                    vllm:generation_tokens_total_created{engine=\"0\"} 1.7e9\n";
        assert_eq!(generated(page), Some(1234.0));
        assert_eq!(generated("llamacpp:tokens_predicted_total 99\n"), Some(99.0));
        assert_eq!(generated("go_goroutines 5\n"), None);
    }
}
