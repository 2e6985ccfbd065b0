//! Each form of an instruction against a value computed in Rust, on values with corners among them.

mod support;

use support::{check, execute, values};

/// `%r0` from words.
fn word(body: &str, want: impl Fn(u32, u32, u32) -> u32) {
    check(body, |a, b, c| (want(a as u32, b as u32, c as u32), 0));
}

/// `%l0` from words of 64 bits.
fn long(body: &str, want: impl Fn(u64, u64, u64) -> u64) {
    check(body, |a, b, c| (0, want(a, b, c)));
}

/// `%r0` from floats; every NaN is equal.
fn float(body: &str, want: impl Fn(f32, f32, f32) -> f32) {
    let (a, b, c) = (values(1, 256), values(2, 256), values(3, 256));
    let out = execute(body, [&a, &b, &c]).unwrap_or_else(|fault| panic!("{body}: {fault}"));
    for n in 0..256 {
        let of = [a[n], b[n], c[n]].map(|bits| f32::from_bits(bits as u32));
        let (got, wanted) = (f32::from_bits(out[n].0), want(of[0], of[1], of[2]));
        let same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
        assert!(same, "{body}\nof {of:?}: {got:?}, not {wanted:?}");
    }
}

#[test]
fn integers_of_32_bits() {
    word("add.s32 %r0, %r1, %r2;", |a, b, _| a.wrapping_add(b));
    word("add.u32 %r0, %r1, -7;", |a, _, _| a.wrapping_sub(7));
    word("sub.s32 %r0, %r1, %r2;", |a, b, _| a.wrapping_sub(b));
    word("mul.lo.s32 %r0, %r1, %r2;", |a, b, _| a.wrapping_mul(b));
    word("mul.hi.u32 %r0, %r1, %r2;", |a, b, _| ((u128::from(a) * u128::from(b)) >> 32) as u32);
    word("mul.hi.s32 %r0, %r1, %r2;", |a, b, _| ((i128::from(a as i32) * i128::from(b as i32)) >> 32) as u32);
    word("mad.lo.s32 %r0, %r1, %r2, %r3;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    word("mad.hi.u32 %r0, %r1, %r2, %r3;", |a, b, c| {
        ((u64::from(a) * u64::from(b)) >> 32).wrapping_add(u64::from(c)) as u32
    });
    word("min.s32 %r0, %r1, %r2;", |a, b, _| (a as i32).min(b as i32) as u32);
    word("max.u32 %r0, %r1, %r2;", |a, b, _| a.max(b));
    word("abs.s32 %r0, %r1;", |a, _, _| (a as i32).unsigned_abs());
    word("neg.s32 %r0, %r1;", |a, _, _| (a ^ u32::MAX).wrapping_add(1));
    word("sad.u32 %r0, %r1, %r2, %r3;", |a, b, c| c.wrapping_add(a.max(b) - a.min(b)));
    word("popc.b32 %r0, %r1;", |a, _, _| (0..32).map(|bit| a >> bit & 1).sum());
    word("clz.b32 %r0, %r1;", |a, _, _| (0..32).rev().take_while(|bit| a >> bit & 1 == 0).count() as u32);
    word("brev.b32 %r0, %r1;", |a, _, _| (0..32).fold(0, |r, bit| r | (a >> bit & 1) << (31 - bit)));
    word("bfind.u32 %r0, %r1;", |a, _, _| {
        (0..32).rev().find(|bit| a >> bit & 1 == 1).map_or(u32::MAX, |bit| bit)
    });
    word("bfind.shiftamt.u32 %r0, %r1;", |a, _, _| {
        (0..32).rev().find(|bit| a >> bit & 1 == 1).map_or(u32::MAX, |bit| 31 - bit)
    });
    word("or.b32 %r4, %r2, 1; div.u32 %r0, %r1, %r4;", |a, b, _| a / (b | 1));
    word("or.b32 %r4, %r2, 1; rem.u32 %r0, %r1, %r4;", |a, b, _| a % (b | 1));
    word("or.b32 %r4, %r2, 1; div.s32 %r0, %r1, %r4;", |a, b, _| {
        (a as i32).wrapping_div((b | 1) as i32) as u32
    });
    word("or.b32 %r4, %r2, 1; rem.s32 %r0, %r1, %r4;", |a, b, _| {
        (a as i32).wrapping_rem((b | 1) as i32) as u32
    });
    word("mul24.lo.u32 %r0, %r1, %r2;", |a, b, _| (a % (1 << 24)).wrapping_mul(b % (1 << 24)));
}

#[test]
fn bits_of_32() {
    word("and.b32 %r0, %r1, %r2;", |a, b, _| a & b);
    word("or.b32 %r0, %r1, 0x0f0f;", |a, _, _| a | 0x0f0f);
    word("xor.b32 %r0, %r1, %r2;", |a, b, _| a ^ b);
    word("not.b32 %r0, %r1;", |a, _, _| !a);
    // Shifts are clamped, not wrapped.
    word("shl.b32 %r0, %r1, %r2;", |a, b, _| a.checked_shl(b).unwrap_or(0));
    word("shr.u32 %r0, %r1, %r2;", |a, b, _| a.checked_shr(b).unwrap_or(0));
    word("shr.s32 %r0, %r1, %r2;", |a, b, _| (i64::from(a as i32) >> b.min(63)) as u32);
    word("shf.l.wrap.b32 %r0, %r1, %r2, %r3;", |a, b, c| {
        ((u128::from(b) << 32 | u128::from(a)) << (c % 32) >> 32) as u32
    });
    word("shf.r.wrap.b32 %r0, %r1, %r2, %r3;", |a, b, c| {
        ((u128::from(b) << 32 | u128::from(a)) >> (c % 32)) as u32
    });
    word("shf.l.clamp.b32 %r0, %r1, %r2, %r3;", |a, b, c| {
        ((u128::from(b) << 32 | u128::from(a)) << c.min(32) >> 32) as u32
    });
    word("shf.r.clamp.b32 %r0, %r1, %r2, %r3;", |a, b, c| {
        ((u128::from(b) << 32 | u128::from(a)) >> c.min(32)) as u32
    });
    word("lop3.b32 %r0, %r1, %r2, %r3, 0xea;", |a, b, c| a & b | c);
    word("lop3.b32 %r0, %r1, %r2, %r3, 0x96;", |a, b, c| a ^ b ^ c);
    word("lop3.b32 %r0, %r1, %r2, %r3, 0xca;", |a, b, c| a & b | !a & c);
    word("lop3.b32 %r0, %r1, %r2, %r3, 0x01;", |a, b, c| !(a | b | c));
    for selector in [0x3210, 0x7654, 0x0123, 0x5140, 0xba98, 0x8f07] {
        let bytes = move |a: u32, b: u32| {
            let all: Vec<u8> = [a, b].iter().flat_map(|word| word.to_le_bytes()).collect();
            let one = |at: u32| {
                let nibble = selector >> (4 * at) & 15;
                let byte = all[nibble as usize & 7];
                if nibble < 8 {
                    byte
                } else if byte > 127 {
                    255
                } else {
                    0
                }
            };
            u32::from_le_bytes([one(0), one(1), one(2), one(3)])
        };
        word(&format!("prmt.b32 %r0, %r1, %r2, {selector};"), move |a, b, _| bytes(a, b));
        word(&format!("mov.b32 %r4, {selector}; prmt.b32 %r0, %r1, %r2, %r4;"), move |a, b, _| bytes(a, b));
    }
    for (from, count) in [(0u32, 8u32), (4, 8), (28, 8), (31, 1), (0, 32), (5, 0), (32, 4), (8, 40)] {
        let field = move |a: u32| (u128::from(a) >> from) & ((1u128 << count) - 1);
        word(&format!("bfe.u32 %r0, %r1, {from}, {count};"), move |a, _, _| field(a) as u32);
        word(&format!("bfe.s32 %r0, %r1, {from}, {count};"), move |a, _, _| {
            // The sign is the field's last bit, or the word's where the field reaches beyond.
            let wide = i128::from(a as i32) >> from;
            if count == 0 {
                0
            } else {
                (wide << (127 - count.min(64) + 1) >> (127 - count.min(64) + 1)) as u32
            }
        });
        word(&format!("bfi.b32 %r0, %r1, %r2, {from}, {count};"), move |a, b, _| {
            let mask = (((1u128 << count) - 1) << from) as u32;
            b & !mask | (u128::from(a) << from) as u32 & mask
        });
    }
    word("dp4a.s32.s32 %r0, %r1, %r2, %r3;", |a, b, c| dot(a, b, c, true, true));
    word("dp4a.u32.u32 %r0, %r1, %r2, %r3;", |a, b, c| dot(a, b, c, false, false));
    word("dp4a.u32.s32 %r0, %r1, %r2, %r3;", |a, b, c| dot(a, b, c, false, true));
}

fn dot(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let value = |byte: u8, signed: bool| i64::from(byte) - if signed && byte > 127 { 256 } else { 0 };
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    (i64::from(c) + pairs.map(|(a, b)| value(a, a_signed) * value(b, b_signed)).sum::<i64>()) as u32
}

#[test]
fn integers_of_64_and_16_bits() {
    long("add.s64 %l0, %l1, %l2;", |a, b, _| a.wrapping_add(b));
    long("sub.s64 %l0, %l1, %l2;", |a, b, _| a.wrapping_sub(b));
    long("mul.lo.s64 %l0, %l1, %l2;", |a, b, _| a.wrapping_mul(b));
    long("mul.hi.u64 %l0, %l1, %l2;", |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    long("mul.hi.s64 %l0, %l1, %l2;", |a, b, _| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64);
    long("mad.lo.s64 %l0, %l1, %l2, %l3;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    long("mul.wide.u32 %l0, %r1, %r2;", |a, b, _| (a & 0xffff_ffff) * (b & 0xffff_ffff));
    long("mul.wide.s32 %l0, %r1, %r2;", |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64);
    long("mad.wide.u32 %l0, %r1, %r2, %l3;", |a, b, c| {
        ((a & 0xffff_ffff) * (b & 0xffff_ffff)).wrapping_add(c)
    });
    long("mad.wide.s32 %l0, %r1, %r2, %l3;", |a, b, c| {
        (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64) as u64
    });
    long("and.b64 %l0, %l1, %l2;", |a, b, _| a & b);
    long("or.b64 %l0, %l1, %l2;", |a, b, _| a | b);
    long("xor.b64 %l0, %l1, %l2;", |a, b, _| a ^ b);
    long("not.b64 %l0, %l1;", |a, _, _| !a);
    long("neg.s64 %l0, %l1;", |a, _, _| (!a).wrapping_add(1));
    long("shl.b64 %l0, %l1, %r2;", |a, b, _| a.checked_shl(b as u32).unwrap_or(0));
    long("shr.u64 %l0, %l1, %r2;", |a, b, _| a.checked_shr(b as u32).unwrap_or(0));
    long("shr.s64 %l0, %l1, %r2;", |a, b, _| (i128::from(a as i64) >> (b as u32).min(127)) as u64);
    long("or.b64 %l4, %l2, 1; div.u64 %l0, %l1, %l4;", |a, b, _| a / (b | 1));
    long("or.b64 %l4, %l2, 1; rem.s64 %l0, %l1, %l4;", |a, b, _| {
        (a as i64).wrapping_rem((b | 1) as i64) as u64
    });
    long("min.s64 %l0, %l1, %l2;", |a, b, _| (a as i64).min(b as i64) as u64);
    long("max.u64 %l0, %l1, %l2;", |a, b, _| a.max(b));
    long("brev.b64 %l0, %l1;", |a, _, _| (0..64).fold(0, |r, bit| r | (a >> bit & 1) << (63 - bit)));
    long("bfe.u64 %l0, %l1, 20, 30;", |a, _, _| a >> 20 & ((1 << 30) - 1));
    long("bfi.b64 %l0, %l1, %l2, 20, 30;", |a, b, _| {
        let mask = ((1u64 << 30) - 1) << 20;
        b & !mask | a << 20 & mask
    });
    check("popc.b64 %r0, %l1;", |a, _, _| ((0..64).map(|bit| (a >> bit & 1) as u32).sum(), 0));
    check("clz.b64 %r0, %l1;", |a, _, _| {
        ((0..64).rev().take_while(|bit| a >> bit & 1 == 0).count() as u32, 0)
    });
    let half = |body: &str, want: fn(u16, u16) -> u16| {
        word(&format!("{body} cvt.u32.u16 %r0, %h0;"), move |a, b, _| u32::from(want(a as u16, b as u16)));
    };
    half("add.s16 %h0, %h1, %h2;", |a, b| a.wrapping_add(b));
    half("sub.u16 %h0, %h1, %h2;", |a, b| a.wrapping_sub(b));
    half("mul.lo.s16 %h0, %h1, %h2;", |a, b| a.wrapping_mul(b));
    half("min.s16 %h0, %h1, %h2;", |a, b| (a as i16).min(b as i16) as u16);
    half("max.u16 %h0, %h1, %h2;", |a, b| a.max(b));
    half("and.b16 %h0, %h1, %h2;", |a, b| a & b);
    half("not.b16 %h0, %h1;", |a, _| !a);
    half("shl.b16 %h0, %h1, 3;", |a, _| a << 3);
    half("shr.u16 %h0, %h1, 3;", |a, _| a >> 3);
    half("shr.s16 %h0, %h1, 3;", |a, _| ((a as i16) >> 3) as u16);
    word("mul.wide.u16 %r0, %h1, %h2;", |a, b, _| u32::from(a as u16) * u32::from(b as u16));
    word("mul.wide.s16 %r0, %h1, %h2;", |a, b, _| (i32::from(a as i16) * i32::from(b as i16)) as u32);
}

#[test]
fn floats_of_32_bits() {
    float("add.f32 %r0, %r1, %r2;", |a, b, _| a + b);
    float("add.rn.f32 %r0, %r1, 0f3F800000;", |a, _, _| a + 1.0);
    float("sub.f32 %r0, %r1, %r2;", |a, b, _| a - b);
    float("mul.f32 %r0, %r1, %r2;", |a, b, _| a * b);
    float("fma.rn.f32 %r0, %r1, %r2, %r3;", |a, b, c| a.mul_add(b, c));
    float("div.rn.f32 %r0, %r1, %r2;", |a, b, _| a / b);
    float("rcp.rn.f32 %r0, %r1;", |a, _, _| 1.0 / a);
    float("sqrt.rn.f32 %r0, %r1;", |a, _, _| a.sqrt());
    float("neg.f32 %r0, %r1;", |a, _, _| -a);
    float("abs.f32 %r0, %r1;", |a, _, _| a.abs());
    float("copysign.f32 %r0, %r1, %r2;", |a, b, _| b.copysign(a));
    float("min.f32 %r0, %r1, %r2;", |a, b, _| {
        if a.is_nan() {
            b
        } else if b.is_nan() || a < b || a.to_bits() == 0x8000_0000 && b == 0.0 {
            a
        } else {
            b
        }
    });
    float("max.f32 %r0, %r1, %r2;", |a, b, _| {
        if a.is_nan() {
            b
        } else if b.is_nan() || a > b || a.to_bits() == 0 && b == 0.0 {
            a
        } else {
            b
        }
    });
    float("max.NaN.f32 %r0, %r1, %r2;", |a, b, _| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else if a > b || a.to_bits() == 0 && b == 0.0 {
            a
        } else {
            b
        }
    });
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    float("add.ftz.f32 %r0, %r1, %r2;", move |a, b, _| flush(flush(a) + flush(b)));
    float("mul.ftz.f32 %r0, %r1, %r2;", move |a, b, _| flush(flush(a) * flush(b)));
    float(
        "add.sat.f32 %r0, %r1, %r2;",
        |a, b, _| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) + 0.0 },
    );
    float("ex2.approx.ftz.f32 %r0, %r1;", move |a, _, _| flush(f64::from(flush(a)).exp2() as f32));
    float("lg2.approx.f32 %r0, %r1;", |a, _, _| f64::from(a).log2() as f32);
    float("rsqrt.approx.f32 %r0, %r1;", |a, _, _| f64::from(a).sqrt().recip() as f32);
    float("tanh.approx.f32 %r0, %r1;", |a, _, _| f64::from(a).tanh() as f32);
    float("cvt.rni.f32.f32 %r0, %r1;", |a, _, _| a.round_ties_even());
    float("cvt.rzi.f32.f32 %r0, %r1;", |a, _, _| a.trunc());
    float("cvt.rmi.f32.f32 %r0, %r1;", |a, _, _| a.floor());
    float("cvt.rpi.f32.f32 %r0, %r1;", |a, _, _| a.ceil());
}

/// The exact sum or product as `f64` pairs is beyond a test; that no neighbour lies between is not.
#[test]
fn directed_rounding_stays_on_its_side() {
    let (a, b, c) = (values(1, 256), values(2, 256), values(3, 256));
    for (operation, exact) in [
        ("add", (|x, y, _| x + y) as fn(f64, f64, f64) -> f64),
        ("mul", |x, y, _| x * y),
        ("fma", |x, y, z| x * y + z),
    ] {
        let body = |rounding: &str| match operation {
            "fma" => format!("fma.{rounding}.f32 %r0, %r1, %r2, %r3;"),
            _ => format!("{operation}.{rounding}.f32 %r0, %r1, %r2;"),
        };
        let of = |rounding: &str| execute(&body(rounding), [&a, &b, &c]).expect("no fault");
        let (down, up, zero) = (of("rm"), of("rp"), of("rz"));
        let mut inexact = 0;
        for n in 0..256 {
            let [x, y, z] = [a[n], b[n], c[n]].map(|bits| f64::from(f32::from_bits(bits as u32)));
            // Where f64 holds the result exactly enough to tell.
            let want = exact(x, y, z);
            let [down, up, zero] = [down[n].0, up[n].0, zero[n].0].map(f32::from_bits);
            if !want.is_finite() || want.abs() > 1e37 || want.abs() < 1e-30 {
                continue;
            }
            assert!(
                f64::from(down) <= want && want <= f64::from(up),
                "{operation} {x} {y} {z}: {down} {want} {up}"
            );
            assert!(up == down || up == down.next_up(), "{operation} {x} {y} {z}: {down} {up}");
            assert_eq!(zero, if want > 0.0 { down } else { up }, "{operation} {x} {y} {z}");
            inexact += u32::from(up != down);
        }
        assert!(inexact > 50, "{operation}: only {inexact} were inexact");
    }
}

#[test]
fn floats_of_64_bits() {
    let double = |body: &str, want: fn(f64, f64, f64) -> f64| {
        long(
            &format!(
                "{body} abs.f64 %l5, %l0; setp.le.f64 %p1, %l5, 0d7FF0000000000000; selp.b64 %l0, %l0, 7, %p1;"
            ),
            move |a, b, c| {
                let value = want(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
                if value.is_nan() { 7 } else { value.to_bits() }
            },
        );
    };
    double("add.f64 %l0, %l1, %l2;", |a, b, _| a + b);
    double("sub.f64 %l0, %l1, %l2;", |a, b, _| a - b);
    double("mul.f64 %l0, %l1, %l2;", |a, b, _| a * b);
    double("div.rn.f64 %l0, %l1, %l2;", |a, b, _| a / b);
    double("fma.rn.f64 %l0, %l1, %l2, %l3;", |a, b, c| a.mul_add(b, c));
    double("sqrt.rn.f64 %l0, %l1;", |a, _, _| a.sqrt());
    double("neg.f64 %l0, %l1;", |a, _, _| -a);
    double("cvt.f64.f32 %l0, %r1;", |a, _, _| f64::from(f32::from_bits(a.to_bits() as u32)));
    double("cvt.rn.f64.s32 %l0, %r1;", |a, _, _| f64::from(a.to_bits() as i32));
    check("cvt.rn.f32.f64 %r0, %l1; setp.nan.f64 %p1, %l1, %l1; selp.b32 %r0, 7, %r0, %p1;", |a, _, _| {
        let value = f64::from_bits(a);
        (if value.is_nan() { 7 } else { (value as f32).to_bits() }, 0)
    });
}

/// The nearest f16 to an exact value, ties to even, found among all of them.
fn nearest_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let exact = |bits: u16| -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10), f64::from(bits & 1023));
        if exponent == 0 { fraction * 2f64.powi(-24) } else { (1024.0 + fraction) * 2f64.powi(exponent - 25) }
    };
    if value.is_nan() {
        return 0x7fff;
    }
    let magnitude = value.abs();
    // From 65520 on the nearest is what would come after the largest.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    let (mut low, mut high) = (0u16, 0x7c00u16);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if exact(middle) <= magnitude { low = middle } else { high = middle }
    }
    let (below, above) = (magnitude - exact(low), exact(high) - magnitude);
    sign | if below < above || below == above && low % 2 == 0 { low } else { high }
}

fn half(bits: u16) -> f64 {
    let magnitude = bits & 0x7fff;
    let value = if magnitude > 0x7c00 {
        f64::NAN
    } else if magnitude == 0x7c00 {
        f64::INFINITY
    } else if magnitude < 0x400 {
        f64::from(magnitude) * 2f64.powi(-24)
    } else {
        (1024.0 + f64::from(magnitude & 1023)) * 2f64.powi(i32::from(magnitude >> 10) - 25)
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

fn pairs(body: &str, want: impl Fn(f64, f64, f64) -> f64) {
    word(body, |a, b, c| {
        let of = |shift: u32| {
            let [a, b, c] = [a, b, c].map(|word| half((word >> shift) as u16));
            u32::from(nearest_half(want(a, b, c)))
        };
        of(0) | of(16) << 16
    });
}

#[test]
fn halves_in_pairs_and_alone() {
    pairs("fma.rn.f16x2 %r0, %r1, %r2, %r3;", |a, b, c| a * b + c);
    pairs("add.f16x2 %r0, %r1, %r2;", |a, b, _| a + b);
    pairs("add.rn.f16x2 %r0, %r1, %r2;", |a, b, _| a + b);
    pairs("sub.rn.f16x2 %r0, %r1, %r2;", |a, b, _| a - b);
    pairs("mul.f16x2 %r0, %r1, %r2;", |a, b, _| a * b);
    pairs("fma.rn.relu.f16x2 %r0, %r1, %r2, %r3;", |a, b, c| {
        let value = a * b + c;
        if value > 0.0 { value } else { 0.0 }
    });
    let alone = |body: &str, want: fn(f64, f64) -> f64| {
        word(&format!("{body} cvt.u32.u16 %r0, %h0;"), move |a, b, _| {
            u32::from(nearest_half(want(half(a as u16), half(b as u16))))
        });
    };
    alone("add.f16 %h0, %h1, %h2;", |a, b| a + b);
    alone("mul.rn.f16 %h0, %h1, %h2;", |a, b| a * b);
    alone("fma.rn.f16 %h0, %h1, %h2, %h2;", |a, b| a * b + b);
    word("cvt.f32.f16 %r0, %h1; setp.nan.f32 %p1, %r0, %r0; selp.b32 %r0, 7, %r0, %p1;", |a, _, _| {
        let value = half(a as u16) as f32;
        if value.is_nan() { 7 } else { value.to_bits() }
    });
    word("cvt.rn.f16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0;", |a, _, _| {
        u32::from(nearest_half(f64::from(f32::from_bits(a))))
    });
    word("cvt.rn.f16x2.f32 %r0, %r1, %r2;", |a, b, _| {
        let [a, b] = [a, b].map(|bits| u32::from(nearest_half(f64::from(f32::from_bits(bits)))));
        b | a << 16
    });
}

/// The nearest bf16: the two neighbours of an `f32` are its upper half and the next.
fn nearest_brain(value: f64) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let exact = |bits: u16| f64::from(f32::from_bits(u32::from(bits) << 16));
    let magnitude = value.abs();
    let (mut low, mut high) = (0u16, 0x7f80u16);
    // Beyond the middle between the largest and what would come after it.
    if magnitude >= exact(0x7f7f) + (exact(0x7f7f) - exact(0x7f7e)) / 2.0 {
        return sign | 0x7f80;
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if exact(middle) <= magnitude { low = middle } else { high = middle }
    }
    let above = if high == 0x7f80 { f64::INFINITY } else { exact(high) - magnitude };
    let below = magnitude - exact(low);
    sign | if below < above || below == above && low % 2 == 0 { low } else { high }
}

#[test]
fn brains_and_eight_bits() {
    word("cvt.rn.bf16x2.f32 %r0, %r1, %r2;", |a, b, _| {
        let [a, b] = [a, b].map(|bits| u32::from(nearest_brain(f64::from(f32::from_bits(bits)))));
        b | a << 16
    });
    // Of usual size: products of f64 are exact there, sums nearly.
    let usual = |word: u32| word & 0x8fff_8fff | 0x3000_3000;
    word(
        "and.b32 %r1, %r1, 0x8fff8fff; or.b32 %r1, %r1, 0x30003000; and.b32 %r2, %r2, 0x8fff8fff; \
         or.b32 %r2, %r2, 0x30003000; and.b32 %r3, %r3, 0x8fff8fff; or.b32 %r3, %r3, 0x30003000; \
         fma.rn.bf16x2 %r0, %r1, %r2, %r3;",
        move |a, b, c| {
            let of = |shift: u32| {
                let [a, b, c] =
                    [a, b, c].map(|word| f64::from(f32::from_bits((usual(word) >> shift & 0xffff) << 16)));
                u32::from(nearest_brain(a * b + c))
            };
            of(0) | of(16) << 16
        },
    );
    let e4m3 = |byte: u32| {
        let (exponent, fraction) = (byte as i32 >> 3 & 15, f64::from(byte & 7));
        if exponent == 0 { fraction * 2f64.powi(-9) } else { (8.0 + fraction) * 2f64.powi(exponent - 10) }
    };
    word("cvt.rn.satfinite.e4m3x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0;", move |a, b, _| {
        let one = |bits: u32| {
            // What is too large becomes the largest.
            let value = f64::from(f32::from_bits(bits)).clamp(-448.0, 448.0);
            if value.is_nan() {
                return 0x7f;
            }
            let distance = |byte: &u32| ((e4m3(*byte) - value.abs()).abs(), byte % 2);
            let best = (0..0x7f).min_by(|x, y| distance(x).partial_cmp(&distance(y)).expect("numbers"));
            best.unwrap_or(0) | if value.is_sign_negative() { 0x80 } else { 0 }
        };
        one(b) | one(a) << 8
    });
    word("and.b16 %h1, %h1, 0x7e7e; cvt.rn.f16x2.e4m3x2 %r0, %h1;", move |a, _, _| {
        let one = |byte: u32| u32::from(nearest_half(e4m3(byte & 0x7e)));
        one(a) | one(a >> 8) << 16
    });
}

#[test]
fn conversions_of_integers() {
    long("cvt.u64.u32 %l0, %r1;", |a, _, _| a & 0xffff_ffff);
    long("cvt.s64.s32 %l0, %r1;", |a, _, _| i64::from(a as i32) as u64);
    word("cvt.u32.u64 %r0, %l1;", |a, _, _| a);
    word("cvt.u32.u16 %r0, %h1;", |a, _, _| a & 0xffff);
    word("cvt.s32.s16 %r0, %h1;", |a, _, _| i32::from(a as i16) as u32);
    word("cvt.u32.u8 %r0, %r1;", |a, _, _| a & 0xff);
    word("cvt.s32.s8 %r0, %r1;", |a, _, _| i32::from(a as i8) as u32);
    word("cvt.s16.s8 %h0, %h1; cvt.u32.u16 %r0, %h0;", |a, _, _| u32::from(i16::from(a as i8) as u16));
    word("cvt.u16.u64 %h0, %l1; cvt.u32.u16 %r0, %h0;", |a, _, _| a & 0xffff);
    long("cvt.s64.s8 %l0, %h1;", |a, _, _| i64::from(a as i8) as u64);
    long("cvt.u64.u16 %l0, %h1;", |a, _, _| a & 0xffff);
    float("cvt.rn.f32.s32 %r0, %r1;", |a, _, _| a.to_bits() as i32 as f32);
    float("cvt.rn.f32.u32 %r0, %r1;", |a, _, _| a.to_bits() as f32);
    float("cvt.rn.f32.u16 %r0, %h1;", |a, _, _| f32::from(a.to_bits() as u16));
    float("cvt.rn.f32.s8 %r0, %h1;", |a, _, _| f32::from(a.to_bits() as i8));
    word("cvt.rzi.s32.f32 %r0, %r1;", |a, _, _| f32::from_bits(a) as i32 as u32);
    word("cvt.rni.s32.f32 %r0, %r1;", |a, _, _| f32::from_bits(a).round_ties_even() as i32 as u32);
    word("cvt.rmi.s32.f32 %r0, %r1;", |a, _, _| f32::from_bits(a).floor() as i32 as u32);
    word("cvt.rzi.u32.f32 %r0, %r1;", |a, _, _| f32::from_bits(a) as u32);
    long("cvt.rzi.s64.f64 %l0, %l1;", |a, _, _| f64::from_bits(a) as i64 as u64);
}

#[test]
fn comparisons_selections_and_predicates() {
    type Compare<T> = (&'static str, fn(T, T) -> bool);
    let signed: [Compare<i32>; 6] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
    ];
    for (how, want) in signed {
        word(&format!("setp.{how}.s32 %p1, %r1, %r2; selp.u32 %r0, 1, 0, %p1;"), move |a, b, _| {
            u32::from(want(a as i32, b as i32))
        });
    }
    let floats: [Compare<f32>; 9] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b && !a.is_nan() && !b.is_nan()),
        ("lt", |a, b| a < b),
        ("ge", |a, b| a >= b),
        ("ltu", |a, b| a < b || a.is_nan() || b.is_nan()),
        ("geu", |a, b| a >= b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (how, want) in floats {
        word(&format!("setp.{how}.f32 %p1, %r1, %r2; selp.u32 %r0, 1, 0, %p1;"), move |a, b, _| {
            u32::from(want(f32::from_bits(a), f32::from_bits(b)))
        });
    }
    word("setp.lo.u32 %p1, %r1, %r2; selp.u32 %r0, 1, 0, %p1;", |a, b, _| u32::from(a < b));
    check("setp.gt.u64 %p1, %l1, %l2; selp.u32 %r0, 1, 0, %p1;", |a, b, _| (u32::from(a > b), 0));
    word("setp.lt.s32 %p1|%p2, %r1, %r2; selp.u32 %r0, 1, 0, %p2;", |a, b, _| {
        u32::from(a as i32 >= b as i32)
    });
    word(
        "setp.lt.u32 %p3, %r2, %r3; setp.lt.and.u32 %p1, %r1, %r2, %p3; selp.u32 %r0, 1, 0, %p1;",
        |a, b, c| u32::from(a < b && b < c),
    );
    word(
        "setp.lt.u32 %p3, %r2, %r3; setp.lt.or.u32 %p1, %r1, %r2, !%p3; selp.u32 %r0, 1, 0, %p1;",
        |a, b, c| u32::from(a < b || b >= c),
    );
    let both = "setp.lt.u32 %p1, %r1, %r2; setp.lt.u32 %p2, %r2, %r3;";
    for (what, want) in
        [("and", (|a, b| a && b) as fn(bool, bool) -> bool), ("or", |a, b| a || b), ("xor", |a, b| a != b)]
    {
        word(&format!("{both} {what}.pred %p3, %p1, %p2; selp.u32 %r0, 1, 0, %p3;"), move |a, b, c| {
            u32::from(want(a < b, b < c))
        });
    }
    word(
        &format!("{both} not.pred %p3, %p1; selp.u32 %r0, %r1, %r2, %p3;"),
        |a, b, _| if a < b { b } else { a },
    );
    long("setp.lt.u32 %p1, %r1, %r2; selp.b64 %l0, %l1, %l2, %p1;", |a, b, _| {
        if (a as u32) < b as u32 { a } else { b }
    });
    word("setp.lt.u32 %p1, %r1, %r2; @%p1 add.u32 %r0, %r1, 5; @!%p1 sub.u32 %r0, %r1, 5;", |a, b, _| {
        if a < b { a.wrapping_add(5) } else { a.wrapping_sub(5) }
    });
}

#[test]
fn moves_and_packing() {
    word("mov.b32 {%h4, %h5}, %r1; mov.b32 %r0, {%h5, %h4};", |a, _, _| a.rotate_left(16));
    long("mov.b64 {%r4, %r5}, %l1; mov.b64 %l0, {%r5, %r4};", |a, _, _| a.rotate_left(32));
    long("mov.b64 {%h4, %h5, %h6, %h7}, %l1; mov.b64 %l0, {%h7, %h6, %h5, %h4};", |a, _, _| {
        (0..4).fold(0, |r, at| r | (a >> (16 * at) & 0xffff) << (48 - 16 * at))
    });
    word(
        "mov.pred %p1, 0; mov.pred %p2, 1; selp.u32 %r4, 3, 4, %p1; selp.u32 %r5, 5, 6, %p2; mad.lo.s32 %r0, %r4, 16, %r5;",
        |_, _, _| 0x45,
    );
}

#[test]
fn shared_local_and_atomic_memory() {
    // Each thread its own place, so no barrier is needed.
    let own = "shl.b32 %r8, %r9, 4; mov.u32 %r7, room; add.s32 %r8, %r8, %r7;";
    word(
        &format!(
            "{own} st.shared.u32 [%r8], %r1; st.shared.u16 [%r8+4], %h2; ld.shared.u8 %r4, [%r8+1]; ld.shared.s16 %r5, [%r8+4]; add.s32 %r0, %r4, %r5;"
        ),
        |a, b, _| (a >> 8 & 255).wrapping_add(i32::from(b as i16) as u32),
    );
    word(
        &format!(
            "{own} st.shared.v4.u32 [%r8], {{%r1, %r2, %r3, %r1}}; ld.shared.v2.u32 {{%r4, %r5}}, [%r8+8]; xor.b32 %r0, %r4, %r5;"
        ),
        |a, _, c| a ^ c,
    );
    // Through a generic address.
    word(
        &format!(
            "{own} cvt.u64.u32 %l4, %r8; cvta.shared.u64 %l4, %l4; st.u32 [%l4], %r1; ld.shared.u32 %r0, [%r8]; cvta.to.shared.u64 %l5, %l4; cvt.u32.u64 %r5, %l5; sub.s32 %r5, %r5, %r8; add.s32 %r0, %r0, %r5;"
        ),
        |a, _, _| a,
    );
    word(
        &format!(
            "{own} st.shared.u32 [%r8], %r1; atom.shared.add.u32 %r4, [%r8], %r2; ld.shared.u32 %r5, [%r8]; xor.b32 %r0, %r4, %r5;"
        ),
        |a, b, _| a ^ a.wrapping_add(b),
    );
    for (what, want) in [
        ("and.b32", (|a, b| a & b) as fn(u32, u32) -> u32),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
        ("exch.b32", |_, b| b),
        ("min.u32", |a, b| a.min(b)),
        ("max.u32", |a, b| a.max(b)),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("inc.u32", |a, b| if a >= b { 0 } else { a + 1 }),
        ("dec.u32", |a, b| if a == 0 || a > b { b } else { a - 1 }),
    ] {
        word(
            &format!(
                "atom.global.{what} %r4, [%l11], %r2; ld.global.u32 %r0, [%l11]; xor.b32 %r4, %r4, %r1; add.s32 %r0, %r0, %r4;"
            ),
            move |a, b, _| want(a, b),
        );
    }
    word("atom.global.cas.b32 %r4, [%l11], %r1, %r2; ld.global.u32 %r0, [%l11];", |_, b, _| b);
    word(
        "add.u32 %r5, %r1, 1; atom.global.cas.b32 %r4, [%l11], %r5, %r2; ld.global.u32 %r0, [%l11];",
        |a, _, _| a,
    );
    long("atom.global.add.u64 %l4, [%l11], %l2; ld.global.u64 %l0, [%l11];", |a, b, _| a.wrapping_add(b));
    word(
        "mov.b32 %r4, 0f3F800000; st.global.u32 [%l11], %r4; red.global.add.f32 [%l11], 0f40000000; ld.global.u32 %r0, [%l11];",
        |_, _, _| 3f32.to_bits(),
    );
    word(
        "ld.global.nc.L1::no_allocate.u8 %r4, [%l11+3]; ld.global.s8 %r5, [%l11]; add.s32 %r0, %r4, %r5;",
        |a, _, _| (a >> 24).wrapping_add(i32::from(a as i8) as u32),
    );
}

#[test]
fn exchanges_of_a_warp() {
    let lanes = |body: &str, want: &dyn Fn(&[u32], usize) -> u32| {
        let a = values(1, 64);
        let out = execute(body, [&a, &a, &a]).unwrap_or_else(|fault| panic!("{body}: {fault}"));
        let words: Vec<u32> = a.iter().map(|value| *value as u32).collect();
        for (n, got) in out.iter().enumerate() {
            let warp = &words[n / 32 * 32..][..32];
            assert_eq!(got.0, want(warp, n % 32), "{body}, lane {n}");
        }
    };
    lanes("shfl.sync.idx.b32 %r0, %r1, 3, 31, -1;", &|warp, _| warp[3]);
    lanes("shfl.sync.up.b32 %r0, %r1, 5, 0, -1;", &|warp, lane| warp[if lane < 5 { lane } else { lane - 5 }]);
    lanes("shfl.sync.down.b32 %r0, %r1, 2, 31, -1;", &|warp, lane| {
        warp[if lane > 29 { lane } else { lane + 2 }]
    });
    lanes("shfl.sync.bfly.b32 %r0, %r1, 9, 31, -1;", &|warp, lane| warp[lane ^ 9]);
    // Segments of 16 and of 8 lanes, as `__shfl_down_sync(m, v, 2, 16)` and `__shfl_xor_sync(m, v, 4, 8)` make them.
    lanes("shfl.sync.down.b32 %r0, %r1, 2, 4127, -1;", &|warp, lane| {
        warp[if lane % 16 > 13 { lane } else { lane + 2 }]
    });
    lanes("shfl.sync.bfly.b32 %r0, %r1, 4, 6175, -1;", &|warp, lane| warp[lane ^ 4]);
    lanes("shfl.sync.idx.b32 %r0, %r1, 2, 6175, -1;", &|warp, lane| warp[lane / 8 * 8 + 2]);
    lanes("shfl.sync.down.b32 %r4|%p1, %r1, 2, 4127, -1; selp.u32 %r0, 1, 0, %p1;", &|_, lane| {
        u32::from(lane % 16 < 14)
    });
    let odd =
        |warp: &[u32]| warp.iter().enumerate().fold(0, |mask, (lane, value)| mask | (value & 1) << lane);
    let set = "and.b32 %r4, %r1, 1; setp.ne.u32 %p1, %r4, 0;";
    lanes(&format!("{set} vote.sync.ballot.b32 %r0, %p1, -1;"), &|warp, _| odd(warp));
    lanes(&format!("{set} vote.sync.any.pred %p2, %p1, -1; selp.u32 %r0, 1, 0, %p2;"), &|warp, _| {
        u32::from(odd(warp) != 0)
    });
    lanes(&format!("{set} vote.sync.all.pred %p2, !%p1, -1; selp.u32 %r0, 1, 0, %p2;"), &|warp, _| {
        u32::from(odd(warp) == 0)
    });
    lanes("redux.sync.add.s32 %r0, %r1, -1;", &|warp, _| {
        warp.iter().fold(0, |sum: u32, value| sum.wrapping_add(*value))
    });
    lanes("redux.sync.max.s32 %r0, %r1, -1;", &|warp, _| {
        warp.iter().map(|value| *value as i32).max().unwrap_or(0) as u32
    });
    lanes("redux.sync.xor.b32 %r0, %r1, -1;", &|warp, _| warp.iter().fold(0, |x, value| x ^ value));
    lanes("and.b32 %r4, %r1, 3; match.any.sync.b32 %r0, %r4, -1;", &|warp, lane| {
        (0..32).filter(|other| warp[*other] & 3 == warp[lane] & 3).fold(0, |mask, other| mask | 1 << other)
    });
    lanes("activemask.b32 %r0;", &|_, _| u32::MAX);
    lanes("mov.u32 %r4, %laneid; mov.u32 %r5, %lanemask_lt; add.s32 %r0, %r4, %r5;", &|_, lane| {
        lane as u32 + (1u32 << lane) - 1
    });
    let all: u32 = values(1, 64).iter().map(|value| *value as u32 & 1).sum();
    lanes(&format!("{set} bar.red.popc.u32 %r0, 0, %p1;"), &|_, _| all);
    lanes(&format!("{set} bar.red.or.pred %p2, 0, %p1; selp.u32 %r0, 1, 0, %p2;"), &|_, _| {
        u32::from(all > 0)
    });
    lanes(&format!("{set} bar.red.and.pred %p2, 0, %p1; selp.u32 %r0, 1, 0, %p2;"), &|_, _| {
        u32::from(all == 64)
    });
}
