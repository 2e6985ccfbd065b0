//! Tensor entries of a header: what they claim, and whether the file can hold it.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::scan::Scan;
use crate::{Error, TensorInfo, TensorType};

/// Tensors beyond this number are not a model's: the largest mixture of experts known has 10^5.
const MAX_TENSORS: u64 = 1 << 20;
/// Bytes of a tensor entry at least: length and one byte of name, dimensions, type, offset.
const LEAST_ENTRY: u64 = 8 + 1 + 4 + 4 + 8;
/// Most dimensions of a tensor in GGML.
const MAX_DIMENSIONS: u32 = 4;

/// Refuses a number of tensors that the file cannot hold.
pub(super) fn check_count(scan: &Scan<'_, impl Read>, count: u64) -> Result<(), Error> {
    let least = count.saturating_mul(LEAST_ENTRY);
    if count > MAX_TENSORS || least > scan.left() {
        return Err(scan.bad(format!(
            "the header claims {count} tensors, whose entries alone take {least} bytes, and the file has {}: \
             the download did not finish or the header is corrupted",
            scan.length()
        )));
    }
    Ok(())
}

/// Reads `count` entries; offsets are the file's own, counted from the start of the tensor data.
pub(super) fn read_infos(scan: &mut Scan<'_, impl Read>, count: u64) -> Result<Vec<TensorInfo>, Error> {
    let mut infos = Vec::new();
    let mut names = HashSet::new();
    for index in 0..count {
        let info = read_info(scan, &format!("the name of tensor {} of {count}", index + 1))?;
        if !names.insert(info.name.clone()) {
            return Err(scan.bad(format!("tensor `{}` is listed twice: the header is corrupted", info.name)));
        }
        infos.push(info);
    }
    Ok(infos)
}

fn read_info(scan: &mut Scan<'_, impl Read>, name_is: &str) -> Result<TensorInfo, Error> {
    let name = scan.name(name_is)?;
    let what = format!("the entry of tensor `{name}`");
    let dimensions = scan.u32(&what)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(scan.bad(format!(
            "tensor `{name}` claims {dimensions} dimensions, and GGML has {MAX_DIMENSIONS} at most: the header is corrupted"
        )));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(scan.u64(&what)?);
    }
    let id = scan.u32(&what)?;
    let offset = scan.u64(&what)?;
    let Some(dtype) = TensorType::from_ggml_id(id) else {
        return Err(scan.bad(format!(
            "tensor `{name}` has type {id}{}, which is not supported; supported: {}. Use a file in one of these (such as Q4_K_M or Q8_0)",
            other_type(id).map_or_else(String::new, |label| format!(" ({label})")),
            list_of_types()
        )));
    };
    check_shape(scan, &name, dtype, &shape)?;
    shape.reverse();
    Ok(TensorInfo { name, dtype, shape, offset })
}

/// `shape` is in GGUF's order: the row's length first.
fn check_shape(
    scan: &Scan<'_, impl Read>,
    name: &str,
    dtype: TensorType,
    shape: &[u64],
) -> Result<(), Error> {
    if let Some(index) = shape.iter().position(|size| *size == 0) {
        return Err(
            scan.bad(format!("dimension {} of tensor `{name}` is zero: the header is corrupted", index + 1))
        );
    }
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| {
        // The product of a block's elements and bytes is small, so dividing first loses nothing but a rest,
        // and a rest is refused below.
        (elements / dtype.block_elements()).checked_mul(dtype.block_bytes())
    });
    if bytes.is_none_or(|bytes| bytes > i64::MAX as u64) {
        return Err(scan.bad(format!(
            "tensor `{name}` claims the dimensions {shape:?}, more elements than a file can hold: the header is corrupted"
        )));
    }
    let row = shape.first().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_elements()) {
        return Err(scan.bad(format!(
            "tensor `{name}` has rows of {row} elements in {dtype}, which stores {} at a time: the header is corrupted",
            dtype.block_elements()
        )));
    }
    Ok(())
}

/// Where tensor data may lie, in bytes from the start of the file.
pub(super) struct Region {
    pub alignment: u64,
    pub data_start: u64,
    pub length: u64,
}

/// Turns offsets into places in the file and checks that each tensor lies in it, alone.
pub(super) fn place(
    mut infos: Vec<TensorInfo>,
    region: &Region,
    path: &Path,
) -> Result<Vec<TensorInfo>, Error> {
    let mut ends = Vec::with_capacity(infos.len());
    let mut furthest: Option<(u64, &str)> = None;
    for info in &mut infos {
        if !info.offset.is_multiple_of(region.alignment) {
            return Err(Error::unusable(
                path,
                format!(
                    "tensor `{}` begins at byte {} of the data, not a multiple of the alignment {}: the header is corrupted",
                    info.name, info.offset, region.alignment
                ),
            ));
        }
        let span = region
            .data_start
            .checked_add(info.offset)
            .and_then(|start| Some((start, start.checked_add(info.bytes().get())?)));
        let Some((start, end)) = span else {
            return Err(Error::unusable(
                path,
                format!(
                    "tensor `{}` claims offset {}, beyond any file: the header is corrupted",
                    info.name, info.offset
                ),
            ));
        };
        info.offset = start;
        ends.push((start, end));
    }
    for (info, (_, end)) in infos.iter().zip(&ends) {
        if *end > furthest.map_or(0, |(end, _)| end) {
            furthest = Some((*end, &info.name));
        }
    }
    if let Some((end, name)) = furthest.filter(|(end, _)| *end > region.length) {
        return Err(Error::unusable(
            path,
            format!(
                "the file is cut off: tensor `{name}` ends at byte {end} and the file has {}, so {} bytes are missing; \
                 fetch it again",
                region.length,
                end - region.length
            ),
        ));
    }
    let mut order: Vec<usize> = (0..infos.len()).collect();
    order.sort_unstable_by_key(|index| ends[*index]);
    for pair in order.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        if ends[before].1 > ends[after].0 {
            return Err(Error::unusable(
                path,
                format!(
                    "tensors `{}` and `{}` overlap at byte {}: the header is corrupted",
                    infos[before].name, infos[after].name, ends[after].0
                ),
            ));
        }
    }
    Ok(infos)
}

fn list_of_types() -> String {
    TensorType::ALL.iter().map(|dtype| dtype.label()).collect::<Vec<_>>().join(", ")
}

/// The name of a type of GGML that this program does not read. Numbers: `enum ggml_type` in ggml.h.
fn other_type(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "Q4_2, removed from GGML in 2023",
        5 => "Q4_3, removed from GGML in 2023",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31..=33 => "Q4_0 interleaved, removed from GGUF in 2024",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36..=38 => "IQ4_NL interleaved, removed from GGUF in 2024",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return None,
    })
}
