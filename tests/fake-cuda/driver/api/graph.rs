//! Graphs: captured work, made executable, launched as often as wanted.

use std::ffi::{c_int, c_uint, c_void};

use super::super::code::Code;
use super::super::stream::Work;
use super::super::{Needs, State, call};
use super::{functions, give, pointer};

fn instantiate(state: &mut State, to: *mut *mut c_void, graph: *mut c_void) -> Result<(), Code> {
    let work = state.graphs.get(&(graph as usize)).ok_or(Code::INVALID_HANDLE)?.clone();
    let id = state.handle();
    state.log(&format!("instantiate nodes={}", work.len()));
    state.executables.insert(id, work);
    give(to, pointer(id))
}

/// Kernel, copy or other: what may not change when an executable graph is updated.
fn kind(work: &Work) -> std::mem::Discriminant<Work> {
    std::mem::discriminant(work)
}

functions! { FUNCTIONS;
    Context fn cuGraphCreate(graph: *mut *mut c_void, flags: c_uint) |state| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let id = state.handle();
        state.graphs.insert(id, Vec::new());
        give(graph, pointer(id))
    }
    Context fn cuGraphDestroy(graph: *mut c_void) |state| {
        state.graphs.remove(&(graph as usize)).map(|_| ()).ok_or(Code::INVALID_HANDLE)
    }
    Context fn cuGraphGetNodes(graph: *mut c_void, nodes: *mut *mut c_void, count: *mut usize) |state| {
        let work = state.graphs.get(&(graph as usize)).ok_or(Code::INVALID_HANDLE)?;
        if nodes.is_null() { give(count, work.len()) } else { Err(Code::NOT_SUPPORTED) }
    }
    Context fn cuGraphInstantiateWithFlags(executable: *mut *mut c_void, graph: *mut c_void, flags: u64) |state| {
        let _ = flags;
        instantiate(state, executable, graph)
    }
    Context fn cuGraphUpload(executable: *mut c_void, stream: *mut c_void) |state| {
        state.stream(stream as usize)?;
        state.executables.get(&(executable as usize)).map(|_| ()).ok_or(Code::INVALID_HANDLE)
    }
    Context fn cuGraphLaunch(executable: *mut c_void, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        let work = state.executables.get(&(executable as usize)).ok_or(Code::INVALID_HANDLE)?.clone();
        state.log(&format!("graph nodes={}", work.len()));
        work.into_iter().try_for_each(|work| state.submit(stream, work))
    }
    Context fn cuGraphExecUpdate_v2(executable: *mut c_void, graph: *mut c_void, result: *mut [c_int; 6]) |state| {
        let work = state.graphs.get(&(graph as usize)).ok_or(Code::INVALID_HANDLE)?.clone();
        let known = state.executables.get_mut(&(executable as usize)).ok_or(Code::INVALID_HANDLE)?;
        let same = known.len() == work.len() && known.iter().zip(&work).all(|(old, new)| kind(old) == kind(new));
        if !result.is_null() {
            // Success, or that the topology changed.
            give(result.cast::<c_int>(), if same { 0 } else { 2 })?;
        }
        if !same {
            return Err(Code::GRAPH_UPDATE_FAILURE);
        }
        *known = work;
        Ok(())
    }
    Context fn cuGraphExecDestroy(executable: *mut c_void) |state| {
        state.executables.remove(&(executable as usize)).map(|_| ()).ok_or(Code::INVALID_HANDLE)
    }
}
