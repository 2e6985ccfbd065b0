//! Field values with a scope, which the wrapper does not set: the only way to query the whole module's power.
//!
//! The only place in this module that calls a library function directly. The ids are those of the loaded driver,
//! untranslated.
#![allow(
    unsafe_code,
    reason = "a single call of a C function that the wrapper offers only without the scope"
)]

use nvml_wrapper::Device;
use nvml_wrapper::error::{nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::{
    nvmlFieldValue_t, nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE as DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG as SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG as UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
};

use super::reason;

/// Power averaged over the last second, in milliwatts.
pub(super) const POWER_AVERAGE: u32 = 185;
/// Power over the sensor's own short window, in milliwatts.
pub(super) const POWER_INSTANT: u32 = 186;
/// Energy since the driver was loaded, in millijoules.
pub(super) const ENERGY: u32 = 191;
/// Time throttled by the power limit, in nanoseconds.
pub(super) const THROTTLED_BY_POWER_CAP: u32 = 74;

/// The scope of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldScope {
    /// The GPU.
    Gpu = 0,
    /// GPU and Grace processor together; nothing without a Grace.
    Module = 1,
}

/// A field's value, in the type that the driver gave it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// 32 bits, for power.
    Short(u32),
    /// 64 bits, for counters.
    Long(u64),
    /// Any other type, which none of the fields used here has.
    Other(f64),
}

impl Number {
    /// An integer of either width.
    pub(super) fn whole(self) -> Result<u64, String> {
        match self {
            Self::Short(value) => Ok(value.into()),
            Self::Long(value) => Ok(value),
            Self::Other(value) => Err(format!("NVML: {value} instead of an integer")),
        }
    }
}

/// Queries several fields in one call; each result is independent.
pub(super) fn read(device: &Device<'_>, scope: FieldScope, ids: &[u32]) -> Vec<Result<Number, String>> {
    let all_failed = |why: String| ids.iter().map(|_| Err(why.clone())).collect();
    let function = match nvml_sym(device.nvml().lib().nvmlDeviceGetFieldValues.as_ref()) {
        Ok(function) => function,
        Err(error) => return all_failed(reason(&error)),
    };
    let mut values: Vec<nvmlFieldValue_t> = ids
        .iter()
        .map(|id| {
            // SAFETY: the struct is plain numbers and a union of numbers, for which zero bytes are valid.
            let mut value: nvmlFieldValue_t = unsafe { std::mem::zeroed() };
            value.fieldId = *id;
            value.scopeId = scope as u32;
            value
        })
        .collect();
    let Ok(count) = i32::try_from(values.len()) else { return all_failed("too many fields".to_owned()) };
    // SAFETY: the handle is of a device of this open library, `values` is writable and `count` long, and the
    // signature is the one in NVIDIA's header.
    let returned = unsafe { function(device.handle(), count, values.as_mut_ptr()) };
    if let Err(error) = nvml_try(returned) {
        return all_failed(reason(&error));
    }
    values.iter().map(number).collect()
}

fn number(value: &nvmlFieldValue_t) -> Result<Number, String> {
    nvml_try(value.nvmlReturn).map_err(|error| reason(&error))?;
    // SAFETY: the driver says which member it wrote, and every member is a number of at most eight bytes in a
    // union whose bytes were all set to zero before the call.
    unsafe {
        match value.valueType {
            UNSIGNED_INT => Ok(Number::Short(value.value.uiVal)),
            UNSIGNED_LONG => Ok(Number::Long(value.value.ulVal)),
            UNSIGNED_LONG_LONG => Ok(Number::Long(value.value.ullVal)),
            DOUBLE => Ok(Number::Other(value.value.dVal)),
            SIGNED_LONG_LONG => Ok(Number::Other(value.value.sllVal as f64)),
            other => Err(format!("NVML: a value of the unknown type {other}")),
        }
    }
}
