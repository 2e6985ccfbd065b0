//! Modules, functions, launches.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use super::super::code::Code;
use super::super::launch::{Needs as Resources, Shape, check};
use super::super::stream::Work;
use super::super::{Function, Needs, State, call, module};
use super::{functions, give, pointer};

/// Options of the just-in-time compiler: where its errors go, and how much room is there.
const ERROR_LOG: c_uint = 5;
const ERROR_LOG_SIZE: c_uint = 6;

/// A string of the caller's.
fn name<'a>(text: *const c_char) -> Result<&'a str, Code> {
    if text.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller gave a string that outlives the call.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Code::INVALID_VALUE)
}

/// The image's bytes: machine code by its mark, PTX to its end.
fn image<'a>(image: *const c_void) -> Result<&'a [u8], Code> {
    if image.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller gave an image, which has four bytes at least.
    let mark: [u8; 4] = unsafe { image.cast::<[u8; 4]>().read() };
    if mark == *b"\x7fELF" || mark == [0x50, 0xed, 0x55, 0xba] {
        // SAFETY: as above; what is behind the mark is of no interest.
        return Ok(unsafe { std::slice::from_raw_parts(image.cast(), 4) });
    }
    // SAFETY: what is no machine code is a string.
    Ok(unsafe { CStr::from_ptr(image.cast()) }.to_bytes())
}

fn load(state: &mut State, to: *mut *mut c_void, bytes: &[u8]) -> Result<(), (Code, String)> {
    state.may_wait().map_err(|code| (code, String::new()))?;
    let device = state.current().map_err(|code| (code, String::new()))?;
    let card = state.script.cards[device].clone();
    let loaded = module::load(bytes, &card, device, state.script.version, &mut state.memory);
    let loaded = loaded.inspect_err(|(_, what)| state.say(what))?;
    let id = state.handle();
    state.modules.insert(id, loaded);
    give(to, pointer(id)).map_err(|code| (code, String::new()))
}

fn function(state: &State, handle: *mut c_void) -> Result<&Function, Code> {
    state.functions.get(&(handle as usize)).ok_or(Code::INVALID_HANDLE)
}

/// What the function's kernel takes, as far as the script and the machine know.
fn resources(state: &State, function: &Function) -> Resources {
    let told = state.script.registers.iter().find(|(kernel, _)| *kernel == function.kernel.name);
    Resources::of(&function.kernel, told.map(|(_, count)| *count), function.dynamic_shared)
}

/// Parameters as the caller gives them: a pointer for each, or a buffer and its size.
fn parameters(function: &Function, each: *mut *mut c_void, extra: *mut *mut c_void) -> Result<Vec<u8>, Code> {
    let kernel = &function.kernel;
    let mut bytes = vec![0; kernel.parameter_bytes as usize];
    if !each.is_null() {
        for (at, place) in kernel.parameters.iter().enumerate() {
            // SAFETY: the caller gave a pointer for each parameter, to as many bytes as it has.
            unsafe {
                let from = (*each.add(at)).cast::<u8>();
                if from.is_null() {
                    return Err(Code::INVALID_VALUE);
                }
                let to = bytes[place.offset as usize..].as_mut_ptr();
                std::ptr::copy_nonoverlapping(from, to, place.size as usize);
            }
        }
    } else if !extra.is_null() {
        // 1 and a buffer, 2 and where its size stands, 0.
        let (mut buffer, mut size, mut at) = (std::ptr::null::<u8>(), 0usize, 0);
        // SAFETY: the list ends with zero, by the manual.
        unsafe {
            while !(*extra.add(at)).is_null() {
                match *extra.add(at) as usize {
                    1 => buffer = (*extra.add(at + 1)).cast(),
                    2 => size = *(*extra.add(at + 1)).cast::<usize>(),
                    _ => return Err(Code::INVALID_VALUE),
                }
                at += 2;
            }
            if buffer.is_null() || size < bytes.len() {
                return Err(Code::INVALID_VALUE);
            }
            std::ptr::copy_nonoverlapping(buffer, bytes.as_mut_ptr(), bytes.len());
        }
    } else if !kernel.parameters.is_empty() {
        return Err(Code::INVALID_VALUE);
    }
    Ok(bytes)
}

fn launch(
    state: &mut State,
    handle: *mut c_void,
    shape: Shape,
    stream: *mut c_void,
    (each, extra): (*mut *mut c_void, *mut *mut c_void),
) -> Result<(), Code> {
    let (stream, function) = (state.stream(stream as usize)?, function(state, handle)?.clone());
    let card = &state.script.cards[function.device];
    if let Err((code, what)) = check(card, &function.kernel, resources(state, &function), shape) {
        state.say(&what);
        return Err(code);
    }
    let parameters: Arc<[u8]> = Arc::from(parameters(&function, each, extra)?);
    let Function { kernel, device, .. } = function;
    state.submit(stream, Work::Launch { kernel, shape, parameters, device })
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: *mut c_void,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Attribute {
    id: c_uint,
    padding: [u8; 4],
    value: [u32; 16],
}

/// Whether a launch with this attribute can be executed as if it weren't there.
fn attribute_fits(attribute: &Attribute, capability: (i32, i32)) -> Result<(), Code> {
    match attribute.id {
        // Nothing; a window of the L2 cache; priority.
        0 | 1 | 3 | 8 => Ok(()),
        // Cooperative, when switched off.
        2 if attribute.value[0] == 0 => Ok(()),
        // Clusters of one block.
        4 if attribute.value[..3] == [1, 1, 1] => Ok(()),
        // A launch may begin before the one before it has ended; ending it first is allowed.
        6 if capability >= (9, 0) => Ok(()),
        _ => Err(Code::NOT_SUPPORTED),
    }
}

functions! { FUNCTIONS;
    Context fn cuModuleLoadData(to: *mut *mut c_void, source: *const c_void) |state| {
        load(state, to, image(source)?).map_err(|(code, _)| code)
    }
    Context fn cuModuleLoadDataEx(
        to: *mut *mut c_void, source: *const c_void, count: c_uint, options: *const c_uint, values: *mut *mut c_void,
    ) |state| {
        let result = load(state, to, image(source)?);
        let Err((code, what)) = result else { return Ok(()) };
        let option = |wanted: c_uint| {
            // SAFETY: the caller gave `count` options with their values.
            (0..count as usize).find(|at| unsafe { *options.add(*at) } == wanted).map(|at| unsafe { *values.add(at) })
        };
        if let (Some(log), Some(size)) = (option(ERROR_LOG), option(ERROR_LOG_SIZE))
            && !log.is_null() && size as usize > 0
        {
            let length = what.len().min(size as usize - 1);
            // SAFETY: the caller gave a buffer of that size.
            unsafe {
                std::ptr::copy_nonoverlapping(what.as_ptr(), log.cast(), length);
                log.cast::<u8>().add(length).write(0);
            }
        }
        Err(code)
    }
    Context fn cuModuleUnload(handle: *mut c_void) |state| {
        state.may_wait()?;
        state.finish_all()?;
        let module = state.modules.remove(&(handle as usize)).ok_or(Code::INVALID_HANDLE)?;
        state.functions.retain(|_, function| function.module != handle as usize);
        for (address, _) in module.globals.into_values() {
            state.memory.free(address, |_| true)?;
        }
        Ok(())
    }
    Context fn cuModuleGetFunction(to: *mut *mut c_void, handle: *mut c_void, kernel: *const c_char) |state| {
        let module = state.modules.get(&(handle as usize)).ok_or(Code::INVALID_HANDLE)?;
        let kernel = module.kernels.get(name(kernel)?).ok_or(Code::NOT_FOUND)?.clone();
        let function = Function { kernel, module: handle as usize, device: state.current()?, dynamic_shared: None };
        let id = state.handle();
        state.functions.insert(id, function);
        give(to, pointer(id))
    }
    Context fn cuModuleGetGlobal_v2(
        address: *mut u64, size: *mut usize, handle: *mut c_void, variable: *const c_char,
    ) |state| {
        let module = state.modules.get(&(handle as usize)).ok_or(Code::INVALID_HANDLE)?;
        let (place, bytes) = *module.globals.get(name(variable)?).ok_or(Code::NOT_FOUND)?;
        if !address.is_null() {
            give(address, place)?;
        }
        if size.is_null() { Ok(()) } else { give(size, bytes as usize) }
    }
    Context fn cuModuleGetLoadingMode(mode: *mut c_int) |state| {
        give(mode, 1)
    }
    Context fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, handle: *mut c_void) |state| {
        let function = function(state, handle)?;
        let needs = resources(state, function);
        let (major, minor) = state.script.cards[function.device].kind.capability;
        let most = function.kernel.max_threads.map_or(1024, |threads| threads.iter().product());
        give(value, match attribute {
            0 => most.min(65_536 / needs.registers.max(1) / 32 * 32).cast_signed(),
            1 => function.kernel.static_shared.cast_signed(),
            2 => 0,
            3 => function.kernel.local_bytes.cast_signed(),
            4 => needs.registers.cast_signed(),
            5 | 6 => major * 10 + minor,
            7 => 0,
            8 => needs.allowed_shared.cast_signed(),
            9 => -1,
            _ => return Err(Code::INVALID_VALUE),
        })
    }
    Context fn cuFuncSetAttribute(handle: *mut c_void, attribute: c_int, value: c_int) |state| {
        let function = function(state, handle)?;
        let most = state.script.cards[function.device].kind.shared_opt_in();
        let fixed = function.kernel.static_shared;
        match (attribute, u32::try_from(value)) {
            (8, Ok(bytes)) if bytes + fixed <= most.cast_unsigned() => {
                if let Some(function) = state.functions.get_mut(&(handle as usize)) {
                    function.dynamic_shared = Some(bytes);
                }
                Ok(())
            }
            (9, _) => Ok(()),
            _ => Err(Code::INVALID_VALUE),
        }
    }
    Context fn cuFuncSetCacheConfig(handle: *mut c_void, config: c_int) |state| {
        let _ = config;
        function(state, handle).map(|_| ())
    }
    Context fn cuFuncGetModule(to: *mut *mut c_void, handle: *mut c_void) |state| {
        give(to, pointer(function(state, handle)?.module))
    }
    Context fn cuFuncGetParamInfo(handle: *mut c_void, at: usize, offset: *mut usize, size: *mut usize) |state| {
        let place = *function(state, handle)?.kernel.parameters.get(at).ok_or(Code::INVALID_VALUE)?;
        give(offset, place.offset as usize)?;
        if size.is_null() { Ok(()) } else { give(size, place.size as usize) }
    }
    Context fn cuLaunchKernel(
        handle: *mut c_void,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: *mut c_void, each: *mut *mut c_void, extra: *mut *mut c_void,
    ) |state| {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        launch(state, handle, Shape { grid, block, dynamic_shared: shared }, stream, (each, extra))
    }
    Context fn cuLaunchKernelEx(
        config: *const Config, handle: *mut c_void, each: *mut *mut c_void, extra: *mut *mut c_void,
    ) |state| {
        if config.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller gave a configuration with as many attributes as it says.
        let (config, attributes) = unsafe {
            let config = &*config;
            let count = if config.attributes.is_null() { 0 } else { config.count as usize };
            let attributes: Vec<Attribute> = (0..count).map(|at| *config.attributes.add(at)).collect();
            (config, attributes)
        };
        let capability = state.script.cards[state.current()?].kind.capability;
        attributes.iter().try_for_each(|attribute| attribute_fits(attribute, capability))?;
        let shape = Shape { grid: config.grid, block: config.block, dynamic_shared: config.shared };
        launch(state, handle, shape, config.stream, (each, extra))
    }
    Context fn cuLaunchCooperativeKernel(
        handle: *mut c_void,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: *mut c_void, each: *mut *mut c_void,
    ) |state| {
        let _ = (handle, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, each);
        // Blocks run one after the other, so a grid that waits for itself would never end.
        Err(Code::NOT_SUPPORTED)
    }
    Context fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int, handle: *mut c_void, threads: c_int, shared: usize,
    ) |state| {
        let function = function(state, handle)?;
        let threads = u32::try_from(threads).ok().filter(|threads| (1..=1024).contains(threads));
        let card = &state.script.cards[function.device];
        let resident = resources(state, function).resident(card, threads.ok_or(Code::INVALID_VALUE)?, shared as u32);
        give(blocks, resident.cast_signed())
    }
    Context fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int, handle: *mut c_void, threads: c_int, shared: usize, flags: c_uint,
    ) |state| {
        let _ = flags;
        let function = function(state, handle)?;
        let threads = u32::try_from(threads).ok().filter(|threads| (1..=1024).contains(threads));
        let card = &state.script.cards[function.device];
        let resident = resources(state, function).resident(card, threads.ok_or(Code::INVALID_VALUE)?, shared as u32);
        give(blocks, resident.cast_signed())
    }
}
