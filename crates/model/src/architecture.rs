//! What a family of architectures calls its tensors.

/// Architectures that share the names and shapes of their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama, Mistral and their kind: separate projections without biases.
    Llama,
    /// Biases on query, key and value.
    Qwen2,
    /// Norms on the heads of query and key.
    Qwen3,
    /// Norms before and after attention and feed-forward.
    Gemma3,
    /// Query, key and value in one matrix, gate and up in another.
    Phi3,
}

impl Family {
    /// Tensors of every block, by their names in GGUF after `blk.N.`.
    pub fn block_tensors(self) -> &'static [&'static str] {
        match self {
            Self::Llama => &[
                "attn_q.weight",
                "attn_k.weight",
                "attn_v.weight",
                "attn_output.weight",
                "ffn_gate.weight",
                "ffn_down.weight",
                "ffn_up.weight",
                "attn_norm.weight",
                "ffn_norm.weight",
            ],
            Self::Qwen2 => &[
                "attn_q.weight",
                "attn_k.weight",
                "attn_v.weight",
                "attn_q.bias",
                "attn_k.bias",
                "attn_v.bias",
                "attn_output.weight",
                "ffn_gate.weight",
                "ffn_down.weight",
                "ffn_up.weight",
                "attn_norm.weight",
                "ffn_norm.weight",
            ],
            Self::Qwen3 => &[
                "attn_q.weight",
                "attn_k.weight",
                "attn_v.weight",
                "attn_output.weight",
                "attn_q_norm.weight",
                "attn_k_norm.weight",
                "ffn_gate.weight",
                "ffn_down.weight",
                "ffn_up.weight",
                "attn_norm.weight",
                "ffn_norm.weight",
            ],
            Self::Gemma3 => &[
                "attn_q.weight",
                "attn_k.weight",
                "attn_v.weight",
                "attn_output.weight",
                "attn_q_norm.weight",
                "attn_k_norm.weight",
                "ffn_gate.weight",
                "ffn_down.weight",
                "ffn_up.weight",
                "attn_norm.weight",
                "post_attention_norm.weight",
                "ffn_norm.weight",
                "post_ffw_norm.weight",
            ],
            Self::Phi3 => &[
                "attn_qkv.weight",
                "attn_output.weight",
                "ffn_up.weight",
                "ffn_down.weight",
                "attn_norm.weight",
                "ffn_norm.weight",
            ],
        }
    }
}
