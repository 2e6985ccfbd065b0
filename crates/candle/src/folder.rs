//! Weights from the files of a safetensors folder, one tensor at a time.
//!
//! candle's own readers map the files, which is unsafe, or hold a whole file in memory. This one
//! seeks to a tensor, reads it and converts it, so there is never more than one tensor twice.
//!
//! A read that fails gives zeros and is remembered in [`Failure`], for candle's Llama panics on an
//! error in the middle of a load; the loader looks there before it believes that it has a model.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use crate::base::sys::Interrupt;
use crate::model::safetensors::{files, read_file};
use crate::model::{self, TensorType};

use super::first_line;

/// The first thing that went wrong, if any did.
pub(super) type Failure = Arc<Mutex<Option<String>>>;

/// The tensors of a folder by name.
pub(super) struct Folder {
    files: Vec<Mutex<File>>,
    tensors: HashMap<String, Place>,
    interrupt: Interrupt,
    failure: Failure,
}

/// Where a tensor lies.
struct Place {
    file: usize,
    offset: u64,
    bytes: usize,
    dtype: DType,
    shape: Vec<usize>,
}

impl Folder {
    /// Reads the headers of the folder's files, which `model::safetensors` has judged already.
    pub(super) fn open(folder: &Path, interrupt: &Interrupt) -> Result<Self> {
        let paths = files(folder).map_err(|error| Error::Msg(error.to_string()))?;
        let mut files = Vec::with_capacity(paths.len());
        let mut tensors = HashMap::new();
        for (index, path) in paths.iter().enumerate() {
            for info in read_file(path).map_err(|error| Error::Msg(error.to_string()))? {
                // Types of no weights: nothing asks for such a tensor.
                let Some(dtype) = float(info.dtype) else { continue };
                let dimension = |size: &u64| usize::try_from(*size).map_err(Error::wrap);
                let place = Place {
                    file: index,
                    offset: info.offset,
                    bytes: dimension(&info.bytes().get())?,
                    dtype,
                    shape: info.shape.iter().map(dimension).collect::<Result<_>>()?,
                };
                tensors.insert(info.name, place);
            }
            files.push(Mutex::new(File::open(path)?));
        }
        Ok(Self { files, tensors, interrupt: interrupt.clone(), failure: Failure::default() })
    }

    /// The type that most of the folder's bytes have.
    pub(super) fn dtype(&self) -> DType {
        let bytes = |dtype: DType| -> usize {
            self.tensors.values().filter(|place| place.dtype == dtype).map(|place| place.bytes).sum()
        };
        [DType::F32, DType::F16, DType::BF16]
            .into_iter()
            .max_by_key(|dtype| bytes(*dtype))
            .unwrap_or(DType::F32)
    }

    /// Where a failure will be found.
    pub(super) fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        if self.interrupt.requested() {
            return Err(Error::wrap(model::Error::Interrupted));
        }
        let Some(place) = self.tensors.get(name) else {
            candle_core::bail!("tensor `{name}` is not in the folder");
        };
        let mut bytes = vec![0; place.bytes];
        // A poisoned lock only means that another read panicked; the file is sought anew anyway.
        let mut file = self.files[place.file].lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(place.offset))?;
        file.read_exact(&mut bytes)?;
        Tensor::from_raw_buffer(&bytes, place.dtype, &place.shape, device)
    }
}

impl SimpleBackend for Folder {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let loaded = self.get_unchecked(name, dtype, device).and_then(|tensor| {
            if *tensor.shape() == shape {
                return Ok(tensor);
            }
            candle_core::bail!(
                "tensor `{name}` has shape {:?}, and config.json asks for {:?}",
                tensor.dims(),
                shape.dims()
            )
        });
        loaded.or_else(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| first_line(&error));
            Tensor::zeros(shape, dtype, device)
        })
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.load(name, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

fn float(dtype: TensorType) -> Option<DType> {
    match dtype {
        TensorType::F32 => Some(DType::F32),
        TensorType::F16 => Some(DType::F16),
        TensorType::BF16 => Some(DType::BF16),
        _ => None,
    }
}
