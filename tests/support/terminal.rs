//! A pseudo-terminal of a given width, and how wide the lines are that a program draws over one another on it.
#![allow(unsafe_code, reason = "std opens no pseudo-terminal")]

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd as _;
use std::process::{Command, Stdio};

/// What a program wrote to its terminal, and how it ended.
pub(crate) struct Shown {
    pub(crate) code: i32,
    pub(crate) text: String,
}

/// Runs `command` with stderr on a terminal of this many columns; 0 is one that does not say.
pub(crate) fn run(mut command: Command, columns: u16) -> Shown {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize {
        ws_row: if columns == 0 { 0 } else { 24 },
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: both numbers and the size are written and read in place; no name and no settings are asked for.
    let opened = unsafe {
        libc::openpty(&raw mut ours, &raw mut theirs, std::ptr::null_mut(), std::ptr::null(), &raw const size)
    };
    assert_eq!(opened, 0, "a pseudo-terminal: {}", std::io::Error::last_os_error());
    // SAFETY: the call has opened both, and no one else owns them.
    let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(theirs)
        .spawn()
        .expect("the program starts");
    // Else our own copy of the terminal would keep it open for ever.
    drop(command);
    let mut bytes = Vec::new();
    // Linux ends a terminal that no process has open any more with EIO.
    _ = ours.read_to_end(&mut bytes);
    let code = child.wait().expect("its end").code().unwrap_or(-1);
    Shown { code, text: String::from_utf8_lossy(&bytes).into_owned() }
}

impl Shown {
    /// The lines that were drawn over one another: what is between a return and the end of the line's clearing.
    pub(crate) fn drawn(&self) -> Vec<&str> {
        let pieces = self.text.split('\r').skip(1);
        pieces
            .filter_map(|piece| Some(piece.split_once("\x1b[K")?.0))
            .filter(|line| !line.is_empty())
            .collect()
    }
}
