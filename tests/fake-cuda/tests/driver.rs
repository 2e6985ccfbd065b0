//! The driver's functions as a program calls them: identities, limits, work that is late, faults that stay.
#![allow(clippy::undocumented_unsafe_blocks, reason = "tests call a C library as its manual says")]

mod support;

use support::driver::Driver;
use support::nvrtc::ptx;

/// Adds a number to each word; `limit` words there are.
const ADD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .global .align 4 .u32 seen = 7;\n\
    .extern .shared .align 16 .b8 room[];\n\
    .visible .entry add(.param .u64 pa, .param .u32 pn, .param .u32 pl)\n{\n\
    .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %l<9>;\n\
    ld.param.u64 %l1, [pa]; ld.param.u32 %r1, [pn]; ld.param.u32 %r2, [pl];\n\
    mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.s32 %r3, %r3, %r4, %r5;\n\
    setp.ge.u32 %p1, %r3, %r2; @%p1 bra END; mul.wide.u32 %l2, %r3, 4; add.s64 %l1, %l1, %l2;\n\
    ld.global.u32 %r6, [%l1]; add.s32 %r6, %r6, %r1; st.global.u32 [%l1], %r6;\nEND: ret;\n}\n";

const H100: &str = "card h100-sxm5-80gb\n";

fn attribute(driver: &Driver, which: usize, device: usize) -> Result<i32, i32> {
    driver.get(c"cuDeviceGetAttribute", &[which, device])
}

fn words(driver: &Driver, address: u64, count: usize) -> Result<Vec<u32>, i32> {
    let mut all = vec![0u32; count];
    let code =
        unsafe { driver.call(c"cuMemcpyDtoH_v2", &[all.as_mut_ptr() as usize, address as usize, 4 * count]) };
    if code == 0 { Ok(all) } else { Err(code) }
}

fn buffer(driver: &Driver, values: &[u32]) -> u64 {
    let address: u64 = driver.get(c"cuMemAlloc_v2", &[4 * values.len()]).expect("memory");
    let code = unsafe {
        driver.call(c"cuMemcpyHtoD_v2", &[address as usize, values.as_ptr() as usize, 4 * values.len()])
    };
    assert_eq!(code, 0);
    address
}

fn add(driver: &Driver, function: usize, address: u64, by: u32, limit: u32, stream: usize) -> i32 {
    let parameters: [&[u8]; 3] = [&address.to_le_bytes(), &by.to_le_bytes(), &limit.to_le_bytes()];
    driver.launch(function, 2, 32, 0, stream, &parameters)
}

#[test]
fn cards_are_what_the_script_says() {
    let driver = Driver::new(
        "version 12040\ncard a100-sxm4-80gb uuid=00112233445566778899aabbccddeeff pci=0000:3b:00\ncard rtx-5090 memory=1073741824\n",
    );
    assert_eq!(driver.get::<i32>(c"cuDriverGetVersion", &[]), Ok(12_040));
    assert_eq!(driver.get::<i32>(c"cuDeviceGetCount", &[]), Err(3), "before cuInit");
    assert_eq!(unsafe { driver.call(c"cuInit", &[0]) }, 0);
    assert_eq!(driver.get::<i32>(c"cuDeviceGetCount", &[]), Ok(2));
    assert_eq!(driver.get::<i32>(c"cuDeviceGet", &[2]), Err(101));
    let uuid: [u8; 16] = driver.get(c"cuDeviceGetUuid_v2", &[0]).expect("a UUID");
    assert_eq!((uuid[1], uuid[15]), (0x11, 0xff));
    let mut name = [0u8; 32];
    assert_eq!(unsafe { driver.call(c"cuDeviceGetName", &[name.as_mut_ptr() as usize, 32, 1]) }, 0);
    assert!(name.starts_with(b"NVIDIA GeForce RTX 5090\0"));
    assert_eq!(unsafe { driver.call(c"cuDeviceGetPCIBusId", &[name.as_mut_ptr() as usize, 32, 0]) }, 0);
    assert!(name.starts_with(b"0000:3B:00.0\0"));
    // Capability, multiprocessors, shared memory by opting in.
    for (device, want) in [(0, [8, 0, 108, 163 << 10]), (1, [12, 0, 170, 99 << 10])] {
        let got = [75, 76, 16, 97].map(|which| attribute(&driver, which, device).expect("a figure"));
        assert_eq!(got, want);
    }
    assert_eq!(attribute(&driver, 999, 0), Err(1));
    assert_eq!(driver.get::<usize>(c"cuDeviceTotalMem_v2", &[1]), Ok(1 << 30));
    assert_eq!(driver.get::<u64>(c"cuMemAlloc_v2", &[4]), Err(201), "no context");
    assert_eq!(unsafe { Driver::new("# a box without cards").call(c"cuInit", &[0]) }, 100);
}

#[test]
fn a_kernel_runs_and_its_variable_is_there() {
    let driver = Driver::ready(H100);
    let module = driver.module(ADD).expect("a module");
    let function = driver.function(module, "add").expect("a function");
    assert_eq!(driver.function(module, "sub"), Err(500));
    let address = buffer(&driver, &[1, 2, 3, 4]);
    assert_eq!(add(&driver, function, address, 10, 3, 0), 0);
    assert_eq!(words(&driver, address, 4), Ok(vec![11, 12, 13, 4]));
    let (mut place, mut size) = (0u64, 0usize);
    let code = unsafe {
        driver.call(
            c"cuModuleGetGlobal_v2",
            &[(&raw mut place) as usize, (&raw mut size) as usize, module, c"seen".as_ptr() as usize],
        )
    };
    assert_eq!((code, size), (0, 4));
    assert_eq!(words(&driver, place, 1), Ok(vec![7]));
    assert_eq!(unsafe { driver.call(c"cuModuleUnload", &[module]) }, 0);
    assert_eq!(add(&driver, function, address, 10, 3, 0), 400, "its module is gone");
}

#[test]
fn work_is_done_when_it_is_waited_for_and_not_before() {
    let driver = Driver::ready(H100);
    let function = driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
    let address = buffer(&driver, &[1, 1]);
    let stream = |flags: usize| driver.get::<usize>(c"cuStreamCreate", &[flags]).expect("a stream");
    let (first, second) = (stream(1), stream(1));
    let pinned: usize = driver.get(c"cuMemHostAlloc", &[8, 0]).expect("pinned memory");
    let host = pinned as *mut u32;
    unsafe {
        *host = 5;
        assert_eq!(driver.call(c"cuMemcpyHtoDAsync_v2", &[address as usize, pinned, 4, first]), 0);
        // Overwritten before the stream was waited for: the copy reads what is there when it happens.
        *host = 6;
        assert_eq!(add(&driver, function, address, 10, 2, first), 0);
        assert_eq!(driver.call(c"cuMemcpyDtoHAsync_v2", &[pinned, address as usize, 8, first]), 0);
        assert_eq!(*host, 6, "not yet");
        assert_eq!(driver.call(c"cuStreamQuery", &[first]), 600);
        assert_eq!(driver.call(c"cuStreamSynchronize", &[first]), 0);
        assert_eq!((*host, *host.add(1)), (16, 11));
        // Another stream goes its own way, unless it waits for an event of the first.
        let event: usize = driver.get(c"cuEventCreate", &[0]).expect("an event");
        for waits in [false, true] {
            assert_eq!(add(&driver, function, address, 100, 1, first), 0);
            assert_eq!(driver.call(c"cuEventRecord", &[event, first]), 0);
            if waits {
                assert_eq!(driver.call(c"cuStreamWaitEvent", &[second, event, 0]), 0);
            }
            assert_eq!(driver.call(c"cuMemcpyDtoHAsync_v2", &[pinned, address as usize, 4, second]), 0);
            assert_eq!(driver.call(c"cuStreamSynchronize", &[second]), 0);
            assert_eq!(*host, if waits { 216 } else { 16 });
            assert_eq!(driver.call(c"cuStreamSynchronize", &[first]), 0);
        }
        // The default stream takes turns with a blocking one.
        let blocking = stream(0);
        assert_eq!(add(&driver, function, address, 1000, 1, blocking), 0);
        assert_eq!(words(&driver, address, 1), Ok(vec![1216]));
        let mut elapsed = -1f32;
        let last: usize = driver.get(c"cuEventCreate", &[0]).expect("an event");
        assert_eq!(driver.call(c"cuEventRecord", &[last, first]), 0);
        let code = driver.call(c"cuEventElapsedTime", &[(&raw mut elapsed) as usize, event, last]);
        assert_eq!(code, 600, "the last one has not happened");
        assert_eq!(driver.call(c"cuEventSynchronize", &[last]), 0);
        assert_eq!(driver.call(c"cuEventElapsedTime", &[(&raw mut elapsed) as usize, event, last]), 0);
        assert!(elapsed >= 0.0);
    }
}

#[test]
fn a_graph_does_its_work_each_time_it_is_launched() {
    let driver = Driver::ready(H100);
    let function = driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
    let address = buffer(&driver, &[1]);
    let stream: usize = driver.get(c"cuStreamCreate", &[1]).expect("a stream");
    unsafe {
        assert_eq!(driver.call(c"cuStreamBeginCapture_v2", &[stream, 0]), 0);
        assert_eq!(add(&driver, function, address, 5, 1, stream), 0);
        let mut graph = 0usize;
        assert_eq!(driver.call(c"cuStreamEndCapture", &[stream, (&raw mut graph) as usize]), 0);
        assert_eq!(words(&driver, address, 1), Ok(vec![1]), "captured, not run");
        let executable: usize =
            driver.get(c"cuGraphInstantiateWithFlags", &[graph, 0]).expect("an executable graph");
        assert_eq!(driver.call(c"cuGraphDestroy", &[graph]), 0);
        for want in [6, 11] {
            assert_eq!(driver.call(c"cuGraphLaunch", &[executable, stream]), 0);
            assert_eq!(driver.call(c"cuStreamSynchronize", &[stream]), 0);
            assert_eq!(words(&driver, address, 1), Ok(vec![want]));
        }
        assert_eq!(driver.call(c"cuGraphExecDestroy", &[executable]), 0);
        assert_eq!(driver.call(c"cuGraphLaunch", &[executable, stream]), 400);
    }
}

#[test]
fn what_may_not_be_done_meanwhile_ends_a_capture() {
    let driver = Driver::ready(H100);
    let function = driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
    let address = buffer(&driver, &[1]);
    let stream: usize = driver.get(c"cuStreamCreate", &[1]).expect("a stream");
    let begin = |mode: usize| unsafe { driver.call(c"cuStreamBeginCapture_v2", &[stream, mode]) };
    let end = || {
        let mut graph = 0usize;
        let code = unsafe { driver.call(c"cuStreamEndCapture", &[stream, (&raw mut graph) as usize]) };
        assert_eq!(code == 0, graph != 0);
        code
    };
    assert_eq!(unsafe { driver.call(c"cuStreamBeginCapture_v2", &[0, 1]) }, 900, "the default stream");
    let wait = || unsafe { driver.call(c"cuStreamSynchronize", &[stream]) };
    let take = || driver.get::<u64>(c"cuMemAlloc_v2", &[4]).err().unwrap_or(0);
    let pin = || driver.get::<usize>(c"cuMemHostAlloc", &[8, 0]).err().unwrap_or(0);
    let load = || driver.module(ADD).err().unwrap_or(0);
    let all = || unsafe { driver.call(c"cuCtxSynchronize", &[]) };
    let refused: [&dyn Fn() -> i32; 5] = [&wait, &take, &pin, &load, &all];
    for call in refused {
        assert_eq!(begin(1), 0);
        assert_eq!(call(), 900);
        // Nothing more is taken, and nothing comes of it.
        assert_eq!(add(&driver, function, address, 5, 1, stream), 901);
        assert_eq!(end(), 901);
    }
    // Who else takes memory meanwhile is no concern of this mode, and nobody of the relaxed one.
    for mode in [1, 2] {
        assert_eq!(begin(mode), 0);
        let other = || {
            std::thread::scope(|scope| {
                let take = || {
                    let mut context = 0usize;
                    unsafe { driver.call(c"cuDevicePrimaryCtxRetain", &[(&raw mut context) as usize, 0]) };
                    unsafe { driver.call(c"cuCtxSetCurrent", &[context]) };
                    driver.get::<u64>(c"cuMemAlloc_v2", &[4]).err().unwrap_or(0)
                };
                scope.spawn(take).join().expect("no panic")
            })
        };
        assert_eq!(if mode == 1 { other() } else { take() }, 0);
        assert_eq!((add(&driver, function, address, 5, 1, stream), end()), (0, 0));
    }
    assert_eq!(words(&driver, address, 1), Ok(vec![1]), "captured, not run");
}

#[test]
fn what_a_card_cannot_run_is_refused() {
    let load = |script: &str, image: &str| Driver::ready(script).module(image).err();
    assert_eq!(load(H100, "\x7fELF and so on"), Some(209));
    assert_eq!(load(H100, "no code at all"), Some(200));
    assert_eq!(load(H100, &ADD.replace("add.s32", "add.s33")), Some(218));
    assert_eq!(load("card t4", ADD), Some(218), "older than the code");
    assert_eq!(load(H100, &ADD.replace("sm_80", "sm_90a")), None);
    assert_eq!(load("card b200-sxm-180gb", &ADD.replace("sm_80", "sm_90a")), Some(218), "for 9.0 alone");
    assert_eq!(load("version 12040\ncard h100-sxm5-80gb", &ADD.replace("8.0", "8.5")), Some(222));
    assert_eq!(load("version 12040\ncard h100-sxm5-80gb", &ADD.replace("8.0", "8.4")), None);
    // Its words go to the log of the just-in-time compiler.
    let driver = Driver::ready(H100);
    let text = std::ffi::CString::new(ADD.replace("add.s32", "add.s33")).expect("a text");
    let mut log = [0u8; 200];
    let (options, values) = ([5u32, 6], [log.as_mut_ptr() as usize, log.len()]);
    let code = driver.get::<usize>(
        c"cuModuleLoadDataEx",
        &[text.as_ptr() as usize, 2, options.as_ptr() as usize, values.as_ptr() as usize],
    );
    assert_eq!(code, Err(218));
    assert!(String::from_utf8_lossy(&log).contains("add.s33"), "{}", String::from_utf8_lossy(&log));
}

#[test]
fn a_launch_keeps_within_the_cards_limits() {
    let launch = |script: &str, grid: usize, block: usize, shared: usize, allowed: Option<usize>| {
        let driver = Driver::ready(script);
        let function =
            driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
        let address = buffer(&driver, &[1]);
        if let Some(bytes) = allowed {
            let code = unsafe { driver.call(c"cuFuncSetAttribute", &[function, 8, bytes]) };
            if code != 0 {
                return code;
            }
        }
        let parameters: [&[u8]; 3] = [&address.to_le_bytes(), &[0; 4], &[0; 4]];
        driver.launch(function, grid, block, shared, 0, &parameters)
    };
    assert_eq!(launch(H100, 1, 1024, 0, None), 0);
    assert_eq!(launch(H100, 1, 1025, 0, None), 1);
    assert_eq!(launch(H100, 0, 32, 0, None), 1);
    assert_eq!(launch(H100, 1, 32, 48 << 10, None), 0);
    assert_eq!(launch(H100, 1, 32, (48 << 10) + 1, None), 1, "not without asking");
    for (card, most) in [
        ("a100-sxm4-80gb", 163 << 10),
        ("rtx-3090", 99 << 10),
        ("l4", 99 << 10),
        ("h100-sxm5-80gb", 227 << 10),
        ("rtx-5090", 99 << 10),
    ] {
        let script = format!("card {card}\n");
        assert_eq!(launch(&script, 1, 32, most, Some(most)), 0, "{card}");
        assert_eq!(launch(&script, 1, 32, most, Some(most + 1)), 1, "{card}");
    }
    // Registers as ptxas said: 65,536 of them, 64 for each of 1,024 threads.
    assert_eq!(launch("card l4\nregisters add 64\n", 1, 1024, 0, None), 0);
    assert_eq!(launch("card l4\nregisters add 72\n", 1, 1024, 0, None), 701);
    let driver = Driver::ready("card h100-sxm5-80gb\nregisters add 64\n");
    let function = driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
    for (threads, shared, want) in [(256, 0, 4), (128, 0, 8), (1024, 0, 1), (128, 100 << 10, 2), (32, 0, 32)]
    {
        assert_eq!(
            driver.get(c"cuOccupancyMaxActiveBlocksPerMultiprocessor", &[function, threads, shared]),
            Ok(want),
            "{threads} threads"
        );
    }
    assert_eq!(driver.get::<i32>(c"cuFuncGetAttribute", &[4, function]), Ok(64));
}

#[test]
fn memory_ends_and_is_not_used_after_it_was_freed() {
    let driver = Driver::ready("card l4 memory=1048576\n");
    let (mut free, mut total) = (0usize, 0usize);
    assert_eq!(
        unsafe { driver.call(c"cuMemGetInfo_v2", &[(&raw mut free) as usize, (&raw mut total) as usize]) },
        0
    );
    assert!(free < total && total == 1 << 20);
    let first: u64 = driver.get(c"cuMemAlloc_v2", &[free / 2]).expect("memory");
    assert_eq!(driver.get::<u64>(c"cuMemAlloc_v2", &[free]), Err(2));
    assert_eq!(unsafe { driver.call(c"cuMemFree_v2", &[first as usize]) }, 0);
    assert_eq!(unsafe { driver.call(c"cuMemFree_v2", &[first as usize]) }, 1, "twice");
    assert!(driver.get::<u64>(c"cuMemAlloc_v2", &[free]).is_ok());
    assert_eq!(words(&driver, first, 1), Err(1), "freed");
}

#[test]
fn a_fault_ends_the_context_and_is_told() {
    for (what, block, want) in [("beyond", 9u32, 700), ("misaligned", 1, 716)] {
        let driver = Driver::new(H100);
        let log = driver.log();
        std::fs::write(driver.folder.join("libcuda.so.1.script"), format!("{H100}log {}\n", log.display()))
            .expect("a script");
        assert_eq!(unsafe { driver.call(c"cuInit", &[0]) }, 0);
        let context: usize = driver.get(c"cuDevicePrimaryCtxRetain", &[0]).expect("a context");
        assert_eq!(unsafe { driver.call(c"cuCtxSetCurrent", &[context]) }, 0);
        let function =
            driver.module(ADD).and_then(|module| driver.function(module, "add")).expect("a function");
        let address = buffer(&driver, &[1; 4]) + u64::from(want == 716) * 2;
        assert_eq!(add(&driver, function, address, 1, block, 0), 0, "a launch itself succeeds");
        assert_eq!(unsafe { driver.call(c"cuCtxSynchronize", &[]) }, want, "{what}");
        assert_eq!(driver.get::<u64>(c"cuMemAlloc_v2", &[4]), Err(want), "for good");
        let told = std::fs::read_to_string(&log).expect("a log");
        assert!(told.contains("kernel add, block (0, 0, 0), thread"), "{told}");
    }
}

#[test]
fn functions_fail_as_the_script_says() {
    let driver = Driver::ready(&format!("{H100}fail cuMemAlloc_v2 2 after=1\nfail cuStreamCreate 719\n"));
    assert!(driver.get::<u64>(c"cuMemAlloc_v2", &[4]).is_ok());
    assert_eq!(driver.get::<u64>(c"cuMemAlloc_v2", &[4]), Err(2));
    assert_eq!(driver.get::<usize>(c"cuStreamCreate", &[0]), Err(719));
    assert_eq!(
        unsafe { driver.call(c"cuCtxSynchronize", &[]) },
        719,
        "what breaks a card breaks it for good"
    );
    let mut text = std::ptr::null::<std::ffi::c_char>();
    for (code, want) in [(700, "an illegal memory access was encountered"), (2, "out of memory")] {
        assert_eq!(unsafe { driver.call(c"cuGetErrorString", &[code, (&raw mut text) as usize]) }, 0);
        assert_eq!(unsafe { std::ffi::CStr::from_ptr(text) }.to_str(), Ok(want));
    }
    assert_eq!(unsafe { driver.call(c"cuGetErrorString", &[12_345, (&raw mut text) as usize]) }, 1);
    let mut address = 0usize;
    for (name, want) in [(c"cuMemAlloc", 0), (c"cuLaunchKernel", 0), (c"cuNothing", 500)] {
        let code = unsafe {
            driver.call(
                c"cuGetProcAddress_v2",
                &[name.as_ptr() as usize, (&raw mut address) as usize, 12_000, 0, 0],
            )
        };
        assert_eq!((code, address != 0), (want, want == 0), "{name:?}");
    }
    assert_eq!(
        unsafe { Driver::new("card nothing").call(c"cuInit", &[0]) },
        999,
        "a script that cannot be read"
    );
}

#[test]
fn the_products_kernel_runs_through_the_driver_on_every_card() {
    let source =
        std::fs::read_to_string(support::driver::repository().join("kernels/load.cu")).expect("the kernel");
    for (card, architecture) in
        [("a100-sxm4-80gb", "compute_80"), ("h200-sxm-141gb", "compute_90a"), ("rtx-5090", "compute_120a")]
    {
        let Some(text) = ptx(&source, architecture) else { return };
        let driver = Driver::ready(&format!("card {card}\n"));
        let function = driver.module(&text).and_then(|module| driver.function(module, "load")).expect(card);
        let sums = buffer(&driver, &[0; 64]);
        let parameters: [&[u8]; 4] =
            [&sums.to_le_bytes(), &40u32.to_le_bytes(), &0.5f32.to_le_bytes(), &1f32.to_le_bytes()];
        assert_eq!(driver.launch(function, 2, 32, 0, 0, &parameters), 0);
        // Every chain settles at addend / (1 − factor).
        assert_eq!(words(&driver, sums, 64), Ok(vec![16f32.to_bits(); 64]), "{card}");
    }
}
