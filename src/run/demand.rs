//! What a model needs of a device, from its header alone: for the roofline, and for the estimate of a run's time.

use crate::base::units::Bytes;
use crate::model::header::Header;

use super::measure::roofline::{ExpertDemand, ModelDemand};

/// What the model asks of a device, from its header.
pub(super) fn model_demand(header: &Header, kv_type: &str) -> ModelDemand {
    let spec = &header.spec;
    let embedding =
        ["token_embd.weight", "model.embed_tokens.weight"].iter().find_map(|name| header.tensor(name));
    let (elements, bytes) = embedding.map_or((0, Bytes::default()), |e| (e.elements(), e.bytes()));
    // A tied embedding is the head and is streamed; one of its own is looked up row by row.
    let own = if spec.tied_head { Bytes::default() } else { bytes };
    let head = u64::from(spec.vocabulary) * u64::from(spec.width);
    let not_body = if spec.tied_head { elements } else { elements + head };
    // A token is multiplied with its own experts alone.
    let experts = header.expert_tensors().filter(|_| spec.experts.is_some());
    let (expert_bytes, expert_parameters) = experts.fold((0, 0), |(bytes, elements), tensor| {
        (bytes + tensor.bytes().get(), elements + tensor.elements())
    });
    let unused = spec.experts.map_or(0.0, |experts| {
        expert_parameters as f64 * (1.0 - f64::from(experts.used) / f64::from(experts.count))
    });
    let layers = f64::from(spec.layers) * f64::from(spec.heads) * f64::from(spec.head_size);
    ModelDemand {
        weight_bytes: Bytes::new(header.weight_bytes().get() - own.get() - expert_bytes),
        experts: spec.experts.map(|experts| ExpertDemand {
            bytes: Bytes::new(expert_bytes),
            count: f64::from(experts.count),
            used: f64::from(experts.used),
        }),
        kv_bytes_per_position: spec.kv_bytes_per_position(kv_block_bytes(kv_type)).get() as f64,
        window: spec.window.map(|window| {
            (f64::from(window), f64::from(spec.windowed_layers) / f64::from(spec.layers.max(1)))
        }),
        body_parameters: header.parameters().saturating_sub(not_body) as f64 - unused,
        head_parameters: head as f64,
        attention_operations: 4.0 * layers,
    }
}

/// Bytes of 32 elements of a KV cache, their scale included.
fn kv_block_bytes(kv_type: &str) -> u64 {
    match kv_type {
        "f32" => 128,
        "q8_0" => 34,
        "fp8" => 32,
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::model::Synthetic;

    #[test]
    fn a_gpt_oss_streams_its_experts_with_their_biases_and_computes_with_3_6_billion_weights() {
        let catalog = Catalog::bundled();
        let published = [("gpt-oss-20b", 24, 32, 3.61), ("gpt-oss-120b", 36, 128, 5.13)];
        for (id, layers, count, billions) in published {
            let header = Synthetic::new(catalog.model(id).unwrap(), "mxfp4", 0).unwrap().header().clone();
            let demand = model_demand(&header, "f16");
            let experts = demand.experts.unwrap();
            // 17 bytes for 32 weights, and a single for each row's bias.
            let of_one: u64 = 3 * (2880 * 2880 / 32 * 17 + 2880 * 4);
            assert_eq!(experts.bytes.get(), layers * count * of_one);
            let embedding = header.tensor("token_embd.weight").unwrap().bytes();
            let all = demand.weight_bytes + experts.bytes + embedding;
            assert_eq!(all, header.weight_bytes());
            // "3.6B active" and "5.1B active", the embedding not counted.
            let active = (demand.body_parameters + demand.head_parameters) / 1e9;
            assert!((active - billions).abs() < 0.01, "{id}: {active}");
            assert_eq!(demand.window, Some((128.0, 0.5)));
        }
    }
}
