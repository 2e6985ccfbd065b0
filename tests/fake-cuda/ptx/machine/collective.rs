//! Instructions in which lanes of a warp take part together: shuffles, votes, reductions, barriers.

use super::super::fault::{Blame, Kind};
use super::super::op::{Barrier, Code, NONE, Op, Reduction, Shuffle, Vote};
use super::block::Block;
use super::lanes::FULL;
use super::memory::lanes;
use super::warp::{Waiting, Warp};

/// The lanes that must run it together.
pub fn needed(warp: &Warp, op: &Op, exec: u32) -> Result<u32, Blame> {
    let mask_row = match op.code {
        Code::Barrier(_) => return Ok(warp.live),
        Code::Mma(_) | Code::LoadMatrix { .. } | Code::MoveMatrix => {
            if warp.live != FULL {
                let what =
                    format!("it takes all 32 lanes, of which {:#010x} have ended or never were", !warp.live);
                return Err(Blame::new(Kind::Divergence, what));
            }
            return Ok(FULL);
        }
        Code::Shuffle(_) => op.list[0],
        _ => op.b,
    };
    let undefined = exec & !warp.rows.defined[mask_row as usize];
    if undefined != 0 {
        return Err(Blame::lane(
            Kind::Undefined,
            undefined.trailing_zeros(),
            "a mask of lanes that was never written",
        ));
    }
    let masks = warp.rows.words(mask_row);
    let first = exec.trailing_zeros();
    let mask = masks[first as usize];
    if let Some(lane) = lanes(exec).find(|lane| masks[*lane as usize] != mask) {
        let what =
            format!("its mask is {:#010x} here and {mask:#010x} in lane {first}", masks[lane as usize]);
        return Err(Blame::lane(Kind::Divergence, lane, what));
    }
    let outside = exec & !mask;
    if outside != 0 {
        let what = format!("its mask {mask:#010x} does not name the lane itself");
        return Err(Blame::lane(Kind::Divergence, outside.trailing_zeros(), what));
    }
    // Lanes that have ended are not waited for.
    Ok(mask & warp.live)
}

/// Runs one whose lanes are all here.
pub fn run(warp: &mut Warp, op: &Op, exec: u32) -> Result<(), Blame> {
    let rows = &mut warp.rows;
    match op.code {
        Code::WarpSync => warp.clock += 1,
        Code::Shuffle(mode) => {
            let (values, places, clamps) = (*rows.words(op.a), *rows.words(op.b), *rows.words(op.c));
            let undefined = exec & !(rows.defined[op.b as usize] & rows.defined[op.c as usize]);
            if undefined != 0 {
                let what = "a shuffle from a lane that was never written";
                return Err(Blame::lane(Kind::Undefined, undefined.trailing_zeros(), what));
            }
            let known = rows.defined[op.a as usize];
            let (mut defined, mut inside) = (0u32, 0u32);
            let mut results = values;
            for lane in lanes(exec) {
                let (place, clamp) = (places[lane as usize] & 31, clamps[lane as usize]);
                let (clamp, segment) = (clamp & 31, clamp >> 8 & 31);
                let highest = (lane & segment) | (clamp & !segment);
                let lowest = lane & segment;
                let (source, ok) = match mode {
                    Shuffle::Index => {
                        let source = lowest | (place & !segment);
                        (source, source <= highest)
                    }
                    Shuffle::Up => {
                        let source = i64::from(lane) - i64::from(place);
                        (source.max(0) as u32, source >= i64::from(highest))
                    }
                    Shuffle::Down => (lane + place, lane + place <= highest),
                    Shuffle::Butterfly => (lane ^ place, lane ^ place <= highest),
                };
                let source = if ok { source & 31 } else { lane };
                if exec >> source & 1 == 0 {
                    let what = format!("a shuffle reads lane {source}, which does not take part");
                    return Err(Blame::lane(Kind::Divergence, lane, what));
                }
                results[lane as usize] = values[source as usize];
                defined |= (known >> source & 1) << lane;
                inside |= u32::from(ok) << lane;
            }
            let to = rows.words_mut(op.d);
            for lane in lanes(exec) {
                to[lane as usize] = results[lane as usize];
            }
            rows.mark(op.d, exec, defined);
            rows.set_predicate(op.p, exec, inside, FULL);
        }
        Code::Vote(mode) => {
            let (holds, known) = rows.predicate(op.s, op.s_negated);
            let defined = if exec & !known == 0 { FULL } else { 0 };
            let votes = holds & exec;
            let answer = match mode {
                Vote::All => votes == exec,
                Vote::Any => votes != 0,
                Vote::Uniform => votes == exec || votes == 0,
                Vote::Ballot => {
                    write(warp, op.d, exec, |_| votes);
                    warp.rows.mark(op.d, exec, defined);
                    return Ok(());
                }
            };
            rows.set_predicate(op.p, exec, if answer { FULL } else { 0 }, defined);
        }
        Code::Match { all, long } => {
            let values: [u64; 32] = if long { *rows.longs(op.a) } else { rows.words(op.a).map(u64::from) };
            let defined = if exec & !rows.defined[op.a as usize] == 0 { FULL } else { 0 };
            let equal = |lane: u32| {
                lanes(exec)
                    .filter(|other| values[*other as usize] == values[lane as usize])
                    .fold(0, |m, l| m | 1 << l)
            };
            let same = equal(exec.trailing_zeros()) == exec;
            write(warp, op.d, exec, |lane| if all { if same { exec } else { 0 } } else { equal(lane) });
            warp.rows.mark(op.d, exec, defined);
            warp.rows.set_predicate(op.p, exec, if same { FULL } else { 0 }, defined);
        }
        Code::Reduce(what) => {
            let values = *rows.words(op.a);
            let defined = if exec & !rows.defined[op.a as usize] == 0 { FULL } else { 0 };
            let join = |x: u32, y: u32| match what {
                Reduction::Add => x.wrapping_add(y),
                Reduction::MinS => (x as i32).min(y as i32) as u32,
                Reduction::MaxS => (x as i32).max(y as i32) as u32,
                Reduction::MinU => x.min(y),
                Reduction::MaxU => x.max(y),
                Reduction::And => x & y,
                Reduction::Or => x | y,
                Reduction::Xor => x ^ y,
            };
            let total = lanes(exec).map(|lane| values[lane as usize]).reduce(join).unwrap_or_default();
            write(warp, op.d, exec, |_| total);
            warp.rows.mark(op.d, exec, defined);
        }
        Code::Elect => {
            let leader = exec.trailing_zeros();
            write(warp, op.d, exec, |_| leader);
            warp.rows.mark(op.d, exec, FULL);
            warp.rows.set_predicate(op.p, exec, 1 << leader, FULL);
        }
        _ => {}
    }
    Ok(())
}

fn write(warp: &mut Warp, row: u32, exec: u32, value: impl Fn(u32) -> u32) {
    if row != NONE {
        let to = warp.rows.words_mut(row);
        for lane in lanes(exec) {
            to[lane as usize] = value(lane);
        }
    }
}

/// The warp arrives at a barrier of the block.
pub fn arrive(
    block: &mut Block<'_>,
    warp: &mut Warp,
    op: &Op,
    what: Barrier,
    exec: u32,
) -> Result<(), Blame> {
    let undefined = exec & !(warp.rows.defined[op.a as usize] & warp.rows.defined[op.b as usize]);
    if undefined != 0 {
        let what = "a barrier whose number or count was never written";
        return Err(Blame::lane(Kind::Undefined, undefined.trailing_zeros(), what));
    }
    let first = exec.trailing_zeros() as usize;
    let (which, threads) = (warp.rows.words(op.a)[first], warp.rows.words(op.b)[first]);
    let (numbers, counts) = (warp.rows.words(op.a), warp.rows.words(op.b));
    if let Some(lane) = lanes(exec).find(|l| numbers[*l as usize] != which || counts[*l as usize] != threads)
    {
        return Err(Blame::lane(Kind::Divergence, lane, "lanes of a warp stand at different barriers"));
    }
    if which > 15 || threads % 32 != 0 || threads as usize > block.threads {
        let of = block.threads;
        let what =
            format!("barrier {which} of {threads} threads in a block of {of}: 16 barriers, whole warps");
        return Err(Blame::new(Kind::Operand, what));
    }
    let votes = if what == Barrier::Sync || what == Barrier::Arrive {
        0
    } else {
        let (holds, known) = warp.rows.predicate(op.s, op.s_negated);
        if exec & !known != 0 {
            let what = "a predicate that was never set goes into a barrier";
            return Err(Blame::lane(Kind::Undefined, (exec & !known).trailing_zeros(), what));
        }
        holds & exec
    };
    block.barriers[which as usize].arrive(warp, what, threads, votes, exec)?;
    if what != Barrier::Arrive {
        warp.waiting = Some(Waiting { barrier: which, op: warp.at, exec });
    }
    Ok(())
}
