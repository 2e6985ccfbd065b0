//! `general.file_type`: the number a file gives for its mixture of tensor types, and the field's label for it.
//!
//! Numbers: `enum llama_ftype` in llama.cpp's include/llama.h.

/// Number and label, the label as llama-quantize spells it.
pub(super) const FILE_TYPES: &[(u32, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

/// The field's label for a file type: 15 is `Q4_K_M`.
pub fn file_type_label(number: u64) -> Option<&'static str> {
    FILE_TYPES.iter().find(|(known, _)| u64::from(*known) == number).map(|(_, label)| *label)
}

/// The number of a label, whatever its case: `q4_k_m` is 15.
pub fn file_type_number(label: &str) -> Option<u32> {
    FILE_TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(label)).map(|(number, _)| *number)
}
