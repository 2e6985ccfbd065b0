//! Planted faults, each found for what it is, and the same kernel without the fault, which runs.

mod support;

use fake_cuda::ptx::decode::decode;
use fake_cuda::ptx::fault::Kind;
use fake_cuda::ptx::parse::parse;
use support::{Arg, Run, floats, words};

/// A kernel `k(in, out, count)` around a body; `%a` and `%b` are the buffers, `%r9` the thread.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.7\n.target sm_90a\n.address_size 64\n\
         .visible .entry k(.param .u64 pa, .param .u64 pb, .param .u32 pn)\n{{\n\
         .reg .pred %p<9>; .reg .b32 %r<40>; .reg .f32 %f<20>; .reg .b64 %l<20>;\n\
         .shared .align 16 .b8 room[4096];\n\
         ld.param.u64 %l1, [pa]; ld.param.u64 %l2, [pb]; ld.param.u32 %r8, [pn];\n\
         mov.u32 %r9, %tid.x; mul.wide.u32 %l3, %r9, 4; add.s64 %l4, %l1, %l3; add.s64 %l5, %l2, %l3;\n\
         mov.u32 %r7, room; shl.b32 %r6, %r9, 2; add.s32 %r6, %r6, %r7;\n\
         {body}\nret;\n}}\n"
    )
}

/// Runs it on `threads` threads over as many words, for many orders of warps; the words that came out, or the
/// kind of fault that each order showed.
fn outcome(body: &str, threads: u32) -> Result<Vec<u32>, Kind> {
    let mut result = None;
    for seed in 1..=8 {
        let mut input: Vec<u8> = (0..threads).flat_map(|n| (n * 3 + 1).to_le_bytes()).collect();
        let mut output = vec![0; threads as usize * 4];
        let run = Run::new(&kernel(body), "k").blocks(1, threads).seed(seed);
        let this = run
            .go(&mut [Arg::Bytes(&mut input), Arg::Bytes(&mut output), Arg::U32(threads)])
            .map(|_| words(&output))
            .map_err(|fault| {
                assert!(fault.line > 0 && fault.kernel == "k" && !fault.what.is_empty(), "{fault}");
                fault.kind
            });
        let known = result.get_or_insert_with(|| this.clone());
        assert_eq!(*known, this, "seed {seed} of\n{body}");
    }
    result.expect("a run")
}

/// Every order shows the race, or that a value was read before it was there.
fn races(body: &str, threads: u32) {
    for seed in 1..=8 {
        let mut input: Vec<u8> = (0..threads).flat_map(u32::to_le_bytes).collect();
        let mut output = vec![0; threads as usize * 4];
        let run = Run::new(&kernel(body), "k").blocks(1, threads).seed(seed);
        let fault = run
            .go(&mut [Arg::Bytes(&mut input), Arg::Bytes(&mut output), Arg::U32(threads)])
            .expect_err("a race");
        assert!(matches!(fault.kind, Kind::Race | Kind::Undefined), "seed {seed}: {fault}");
    }
}

fn runs(body: &str, threads: u32) -> Vec<u32> {
    outcome(body, threads).unwrap_or_else(|kind| panic!("{kind:?} in\n{body}"))
}

const REVERSED: &str = "ld.global.u32 %r1, [%l4]; st.shared.u32 [%r6], %r1; BARRIER\n\
    sub.s32 %r2, %r8, %r9; sub.s32 %r2, %r2, 1; shl.b32 %r2, %r2, 2; add.s32 %r2, %r2, %r7;\n\
    ld.shared.u32 %r3, [%r2]; st.global.u32 [%l5], %r3;";

#[test]
fn a_missing_barrier_is_a_race() {
    let with = runs(&REVERSED.replace("BARRIER", "bar.sync 0;"), 128);
    assert_eq!(with[0], 127 * 3 + 1);
    races(&REVERSED.replace("BARRIER", ""), 128);
    // One warp that runs in step gets away with it on many cards, and not by the rules.
    races(&REVERSED.replace("BARRIER", ""), 32);
    assert_eq!(runs(&REVERSED.replace("BARRIER", "bar.warp.sync -1;"), 32)[31], 1);
    // A barrier of a warp does not order two.
    races(&REVERSED.replace("BARRIER", "bar.warp.sync -1;"), 64);
}

#[test]
fn overwriting_what_others_still_read_is_a_race() {
    let body = |barrier: &str| {
        format!("{} {barrier} st.shared.u32 [%r6], %r3;", REVERSED.replace("BARRIER", "bar.sync 0;"))
    };
    runs(&body("bar.sync 0;"), 128);
    assert_eq!(outcome(&body(""), 128), Err(Kind::Race));
}

#[test]
fn races_are_seen_by_byte() {
    // Neighbouring bytes of one word are no race; the same byte is.
    let body = |shift: u32| {
        format!(
            "shr.u32 %r1, %r9, {shift}; add.s32 %r1, %r1, %r7; st.shared.u8 [%r1], %r9; bar.sync 0; ld.shared.u8 %r2, [%r1]; st.global.u32 [%l5], %r2;"
        )
    };
    assert_eq!(runs(&body(0), 128)[77], 77);
    assert_eq!(outcome(&body(1), 128), Err(Kind::Race));
    // Two atomics are none, an atomic and a plain read are.
    let atomics = "bar.sync 0; atom.shared.add.u32 %r1, [room], 1; ";
    let start = "setp.eq.u32 %p1, %r9, 0; mov.u32 %r2, 0; @%p1 st.shared.u32 [room], %r2;";
    let read = "ld.shared.u32 %r3, [room]; st.global.u32 [%l5], %r3;";
    assert_eq!(runs(&format!("{start} {atomics} bar.sync 0; {read}"), 128)[5], 128);
    races(&format!("{start} {atomics} {read}"), 128);
    races(&format!("{start} atom.shared.add.u32 %r1, [room], 1;"), 128);
}

#[test]
fn barriers_of_some_warps_order_those_alone() {
    // Warps 0 and 1 hand over through barrier 1, warps 2 and 3 through barrier 2.
    let body = |barrier: &str| {
        format!(
            "shr.u32 %r10, %r9, 6; add.s32 %r10, %r10, 1; ld.global.u32 %r1, [%l4]; st.shared.u32 [%r6], %r1; \
             {barrier} xor.b32 %r2, %r9, 32; shl.b32 %r2, %r2, 2; add.s32 %r2, %r2, %r7; ld.shared.u32 %r3, [%r2]; \
             st.global.u32 [%l5], %r3;"
        )
    };
    assert_eq!(runs(&body("bar.sync %r10, 64;"), 128)[0], 97);
    races(&body("bar.sync %r10, 32;"), 128);
    // Who only arrives has not waited, so its reads are not ordered.
    let producer = "setp.lt.u32 %p1, %r9, 32; @%p1 bra MAKE;\n\
        bar.sync 1, 64; sub.s32 %r2, %r6, 128; ld.shared.u32 %r3, [%r2]; st.global.u32 [%l5], %r3; bra END;\n\
        MAKE: ld.global.u32 %r1, [%l4]; st.shared.u32 [%r6], %r1; bar.arrive 1, 64; AGAIN\nEND:";
    assert_eq!(runs(&producer.replace("AGAIN", ""), 64)[32], 1);
    assert_eq!(outcome(&producer.replace("AGAIN", "st.shared.u32 [%r6], %r9;"), 64), Err(Kind::Race));
}

#[test]
fn an_access_out_of_bounds_is_found_to_the_byte() {
    let copy = |first: u32| format!("ld.global.u32 %r1, [%l4+{first}]; st.global.u32 [%l5], %r1;");
    runs(&copy(0), 64);
    assert_eq!(outcome(&copy(4), 64), Err(Kind::Address));
    assert_eq!(outcome("st.global.u32 [%l5+-4], %r9;", 64), Err(Kind::Address));
    runs("st.shared.u32 [%r6], %r9;", 1024);
    assert_eq!(outcome("st.shared.u32 [%r6+4], %r9;", 1024), Err(Kind::Address));
    // A bound that is off by one.
    let bound = |how: &str| {
        format!(
            "setp.{how}.u32 %p1, %r9, 63; @%p1 bra END; ld.global.u32 %r1, [%l4+4]; st.global.u32 [%l5+4], %r1; END:"
        )
    };
    assert_eq!(runs(&bound("ge"), 64)[63], 63 * 3 + 1);
    assert_eq!(outcome(&bound("gt"), 64), Err(Kind::Address));
    assert_eq!(outcome("mov.u64 %l6, 0; ld.global.u32 %r1, [%l6];", 32), Err(Kind::Address));
}

#[test]
fn a_misaligned_access_is_found() {
    assert_eq!(outcome("ld.global.u32 %r1, [%l4+2];", 32), Err(Kind::Misaligned));
    assert_eq!(outcome("ld.global.v2.u32 {%r1, %r2}, [%l4];", 32), Err(Kind::Misaligned));
    assert_eq!(outcome("st.shared.v4.u32 [%r7+8], {%r9, %r9, %r9, %r9};", 32), Err(Kind::Misaligned));
    assert_eq!(outcome("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r6];", 32), Err(Kind::Misaligned));
}

const RING: &str = "shl.b32 %r10, %r9, 4; add.s32 %r10, %r10, %r7; mul.wide.u32 %l6, %r9, 16; add.s64 %l6, %l6, %l1;\n\
    cp.async.cg.shared.global [%r10], [%l6], 16; cp.async.commit_group;\n\
    cp.async.cg.shared.global [%r10+512], [%l6+512], 16; cp.async.commit_group;\n\
    WAIT BARRIER\n\
    xor.b32 %r2, %r9, 1; shl.b32 %r2, %r2, 4; add.s32 %r2, %r2, %r7; ld.shared.u32 %r3, [%r2];\n\
    st.global.u32 [%l5], %r3;";

#[test]
fn asynchronous_copies_must_be_waited_for() {
    let run = |wait: &str, barrier: &str| {
        let body = RING.replace("WAIT", wait).replace("BARRIER", barrier);
        let mut input: Vec<u8> = (0..256u32).flat_map(u32::to_le_bytes).collect();
        let mut output = vec![0; 128];
        Run::new(&kernel(&body), "k")
            .go(&mut [Arg::Bytes(&mut input), Arg::Bytes(&mut output), Arg::U32(32)])
            .map(|_| words(&output)[0])
            .map_err(|fault| fault.kind)
    };
    assert_eq!(run("cp.async.wait_group 1;", "bar.sync 0;"), Ok(4));
    assert_eq!(run("cp.async.wait_all;", "bar.sync 0;"), Ok(4));
    // One group too many may still be on its way.
    assert_eq!(run("cp.async.wait_group 2;", "bar.sync 0;"), Err(Kind::Asynchronous));
    assert_eq!(run("", "bar.sync 0;"), Err(Kind::Asynchronous));
    // Waiting orders a thread's own copies alone.
    assert_eq!(run("cp.async.wait_group 0;", ""), Err(Kind::Race));
    // A stage that is filled again while others read it.
    let refill = "cp.async.cg.shared.global [%r10], [%l6], 16;";
    let body = |barrier: &str| {
        format!(
            "{} {barrier} {refill}",
            RING.replace("WAIT", "cp.async.wait_all;").replace("BARRIER", "bar.sync 0;")
        )
    };
    let both = ["bar.sync 0;", ""].map(|barrier| {
        let mut input = vec![0; 1024];
        let mut output = vec![0; 128];
        let run = Run::new(&kernel(&body(barrier)), "k");
        run.go(&mut [Arg::Bytes(&mut input), Arg::Bytes(&mut output), Arg::U32(32)])
            .map(|_| ())
            .map_err(|fault| fault.kind)
    });
    assert_eq!(both, [Ok(()), Err(Kind::Race)]);
}

#[test]
fn a_copy_that_takes_less_fills_with_zeros() {
    let body = "mov.u32 %r1, 8; shl.b32 %r10, %r9, 4; add.s32 %r10, %r10, %r7; cp.async.ca.shared.global [%r10], [%l1], 16, %r1; \
        cp.async.wait_all; ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r10]; or.b32 %r4, %r4, %r5; mad.lo.s32 %r4, %r4, 1000, %r3; st.global.u32 [%l5], %r4;";
    assert_eq!(runs(body, 32), [4; 32]);
}

#[test]
fn values_that_were_never_written_decide_nothing() {
    assert_eq!(outcome("st.global.u32 [%l5], %r30;", 32), Err(Kind::Undefined));
    assert_eq!(outcome("add.s32 %r1, %r30, 1; st.global.u32 [%l5], %r1;", 32), Err(Kind::Undefined));
    assert_eq!(outcome("ld.shared.u32 %r1, [%r6]; st.global.u32 [%l5], %r1;", 32), Err(Kind::Undefined));
    assert_eq!(outcome("setp.eq.u32 %p1, %r30, 1; @%p1 bra END; END:", 32), Err(Kind::Undefined));
    assert_eq!(outcome("add.s64 %l6, %l4, %l19; ld.global.u32 %r1, [%l6];", 32), Err(Kind::Undefined));
    // Written in some lanes alone.
    let some =
        |lanes: u32| format!("setp.lt.u32 %p1, %r9, {lanes}; @%p1 mov.u32 %r1, 5; st.global.u32 [%l5], %r1;");
    assert_eq!(runs(&some(32), 32), [5; 32]);
    assert_eq!(outcome(&some(31), 32), Err(Kind::Undefined));
    // What is carried about and not used is nothing to complain of.
    runs("add.s32 %r1, %r30, 1; st.shared.u32 [%r6], %r1; st.global.u32 [%l5], %r9;", 32);
}

#[test]
fn lanes_that_go_apart_meet_where_they_must() {
    let body = |meet: &str| {
        format!(
            "and.b32 %r1, %r9, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN;\nmul.lo.s32 %r2, %r9, 10; bra.uni JOIN;\n\
                 EVEN: mul.lo.s32 %r2, %r9, 100;\nJOIN: {meet} st.global.u32 [%l5], %r3;"
        )
    };
    let shuffled = runs(&body("shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;"), 32);
    assert_eq!((shuffled[0], shuffled[1], shuffled[31]), (10, 0, 3000));
    // What some lanes do leaves the registers of the others alone.
    let alone = |what: &str| {
        format!(
            "mov.u32 %r3, 7; and.b32 %r1, %r9, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN;\nbra.uni JOIN;\n\
             EVEN: {what}\nJOIN: st.global.u32 [%l5], %r3;"
        )
    };
    for (what, even) in [
        ("activemask.b32 %r3;", 0x5555_5555),
        ("mov.u32 %r3, 9;", 9),
        ("ld.global.u32 %r3, [%l1];", 1),
        ("redux.sync.add.u32 %r3, %r9, 0x55555555;", 240),
        ("shfl.sync.idx.b32 %r3, %r9, 4, 31, 0x55555555;", 4),
        ("mov.b64 %l6, 5; cvt.u32.u64 %r3, %l6;", 5),
        ("selp.b32 %r3, 3, 4, %p1;", 3),
        ("atom.global.exch.b32 %r3, [%l5], 8;", 0),
    ] {
        let got = runs(&alone(what), 32);
        assert_eq!((got[0], got[1], got[30], got[31]), (even, 7, even, 7), "{what}");
    }
    // In one branch alone a shuffle that names all lanes waits for ever.
    let apart = "and.b32 %r1, %r9, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra END; shfl.sync.bfly.b32 %r3, %r9, 1, 31, -1; \
        END: bar.warp.sync -1;";
    assert_eq!(outcome(apart, 32), Err(Kind::Divergence));
    let masked = apart.replace("31, -1; END", "31, 0x55555555; END");
    assert_eq!(outcome(&masked, 32), Err(Kind::Divergence), "lanes that are not named");
    // A barrier that some threads of a warp never reach.
    let barrier = "setp.lt.u32 %p1, %r9, 16; @%p1 bra HERE; bar.sync 0; bra END; HERE: bar.sync 1; END:";
    assert_eq!(outcome(barrier, 32), Err(Kind::Divergence));
    // One that other warps never reach.
    assert_eq!(
        outcome("setp.lt.u32 %p1, %r9, 32; @%p1 bra HERE; bar.sync 0, 64; HERE: bar.sync 1, 64;", 64),
        Err(Kind::Deadlock)
    );
    assert_eq!(outcome("bar.sync 0, 48;", 64), Err(Kind::Operand));
    // Threads that have ended are not waited for by a barrier of the block, but a matrix product needs all.
    runs("setp.lt.u32 %p1, %r9, 16; @%p1 ret; bar.sync 0; st.global.u32 [%l5], %r9;", 64);
    let product = "setp.lt.u32 %p1, %r9, 16; @%p1 ret; mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 \
        {%f1,%f2,%f3,%f4},{%r9,%r9,%r9,%r9},{%r9,%r9},{%f1,%f2,%f3,%f4};";
    assert_eq!(outcome(product, 32), Err(Kind::Divergence));
    assert_eq!(outcome("setp.eq.u32 %p1, %r9, 3; @%p1 trap;", 32), Err(Kind::Trap));
}

/// `d = a × b` of small whole numbers: A 16 × 16, B 16 × 8.
fn product(instruction: &str) -> Vec<f32> {
    let text = format!(
        ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc)\n\
         {{ .reg .b32 %r<20>; .reg .f32 %f<9>; .reg .b64 %l<9>;\n\
         ld.param.u64 %l1, [pa]; ld.param.u64 %l2, [pb]; ld.param.u64 %l3, [pc]; mov.u32 %r0, %laneid;\n\
         mul.wide.u32 %l4, %r0, 16; mul.wide.u32 %l5, %r0, 8; add.s64 %l1, %l1, %l4; add.s64 %l2, %l2, %l5; add.s64 %l3, %l3, %l4;\n\
         ld.global.v4.u32 {{%r1,%r2,%r3,%r4}}, [%l1]; ld.global.v2.u32 {{%r5,%r6}}, [%l2];\n\
         mov.f32 %f1, 0f00000000; mov.f32 %f2, 0f00000000; mov.f32 %f3, 0f00000000; mov.f32 %f4, 0f00000000;\n\
         {instruction}\nst.global.v4.f32 [%l3], {{%f1,%f2,%f3,%f4}};\nret; }}\n"
    );
    let half = |value: u32| -> u16 {
        if value == 0 {
            0
        } else {
            let e = value.ilog2();
            ((15 + e) << 10 | (value << (10 - e)) & 1023) as u16
        }
    };
    let a = |m: usize, k: usize| half((m * 3 + k * 5) as u32 % 11);
    let b = |k: usize, n: usize| half((k * 7 + n * 2) as u32 % 13);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for (m, k) in [(g, 2 * t), (g + 8, 2 * t), (g, 2 * t + 8), (g + 8, 2 * t + 8)] {
            left.extend(a(m, k).to_le_bytes().into_iter().chain(a(m, k + 1).to_le_bytes()));
        }
        for k in [2 * t, 2 * t + 8] {
            right.extend(b(k, g).to_le_bytes().into_iter().chain(b(k + 1, g).to_le_bytes()));
        }
    }
    let mut out = vec![0; 512];
    Run::new(&text, "k")
        .go(&mut [Arg::Bytes(&mut left), Arg::Bytes(&mut right), Arg::Bytes(&mut out)])
        .expect("no fault");
    let by_lane = floats(&out);
    (0..128)
        .map(|at| {
            let (m, n) = (at / 8, at % 8);
            by_lane[((m % 8) * 4 + n / 2) * 4 + m / 8 * 2 + n % 2]
        })
        .collect()
}

#[test]
fn swapped_operands_of_a_product_give_another_result() {
    let right = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4},{%r1,%r2,%r3,%r4},{%r5,%r6},{%f1,%f2,%f3,%f4};";
    let want: Vec<f32> = (0..128)
        .map(|at| {
            let (m, n) = (at / 8, at % 8);
            (0..16).map(|k| ((m * 3 + k * 5) % 11 * ((k * 7 + n * 2) % 13)) as f32).sum()
        })
        .collect();
    assert_eq!(product(right), want);
    assert_ne!(product(&right.replace("{%r1,%r2,%r3,%r4}", "{%r1,%r3,%r2,%r4}")), want);
    assert_ne!(product(&right.replace("{%r5,%r6}", "{%r6,%r5}")), want);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (body, word) in [
        ("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned"),
        ("fence.proxy.async;", "fence.proxy.async"),
        ("cp.async.bulk.commit_group;", "cp.async.bulk.commit_group"),
        ("mbarrier.init.shared::cta.b64 [%r6], 1;", "mbarrier.init"),
        ("mov.u32 %r1, %clock;", "%clock"),
        ("add.s64 %l1, %r1, %l2;", "register of Word"),
        ("cvt.rna.tf32.f32 %r1, %f1;", "cvt.rna.tf32.f32"),
        (
            "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4},{%r1,%r2},{%r3},{%f1,%f2,%f3,%f4};",
            "mma.sync.aligned.m16n8k4",
        ),
        ("call.uni vprintf;", "vprintf"),
        ("bra NOWHERE;", "NOWHERE"),
    ] {
        let text = kernel(body);
        let refusal = decode(&parse(&text).expect("it parses"), "k", &|_| None).expect_err(body);
        assert!(refusal.what.contains(word) && refusal.line > 8, "{body}: {refusal}");
    }
    let refusal =
        parse(".version 8.0\n.target sm_80\n.address_size 64\n.tex .u32 t;").expect_err("a texture");
    assert_eq!((refusal.line, refusal.what.contains(".tex")), (4, true), "{refusal}");
}
