//! What the GPU kernels take of each kind of GPU.

use crate::base::text::count;
use crate::base::units::Seconds;
use crate::engine::fused::CheckedKernel;
use crate::hardware::cuda::survey::Entry;

use super::{Page, Style};

/// `bench kernels check`: a line for each kernel and variant, with its registers on each kind of GPU.
pub fn render_kernels(entries: &[Entry], seconds: Seconds, style: Style) -> String {
    let mut out = Page::default();
    let mut architectures: Vec<&str> = Vec::new();
    let mut kernels: Vec<(&str, &str)> = Vec::new();
    for entry in entries {
        if !architectures.contains(&&*entry.architecture) {
            architectures.push(&entry.architecture);
        }
        let named = (&*entry.kernel, &*entry.variant);
        if !kernels.contains(&named) {
            kernels.push(named);
        }
    }
    let columns = |cells: Vec<String>| cells.iter().fold(String::new(), |line, cell| line + cell);
    let header = columns(architectures.iter().map(|name| format!(" {name:>7}")).collect());
    out.line(format_args!("{}", style.dim(&format!("{:<17} {:<13}{header}", "kernel", "for"))));
    for (kernel, variant) in &kernels {
        let cells = architectures
            .iter()
            .map(|name| {
                let found = entries.iter().find(|entry| {
                    (&*entry.kernel, &*entry.variant, &*entry.architecture) == (*kernel, *variant, *name)
                });
                let cell = found.map_or("–".to_owned(), |entry| {
                    let spill = if entry.spills() { "!" } else { "" };
                    format!("{}{spill}/{}", entry.registers, entry.blocks_per_multiprocessor)
                });
                let cell = format!(" {cell:>7}");
                if found.is_some_and(Entry::spills) { style.bad(&cell) } else { cell }
            })
            .collect();
        let cells = columns(cells);
        out.line(format_args!("{kernel:<17} {variant:<13}{cells}"));
    }
    out.line(format_args!("{}", style.dim("registers per thread / resident blocks per multiprocessor")));
    let spilling: Vec<&Entry> = entries.iter().filter(|entry| entry.spills()).collect();
    for entry in &spilling {
        out.line(format_args!(
            "{}",
            style.bad(&format!(
                "! {} ({}) on {} spills: {} bytes stored, {} loaded per thread",
                entry.kernel,
                entry.variant,
                entry.architecture,
                entry.spill_store_bytes,
                entry.spill_load_bytes
            ))
        ));
    }
    let verdict =
        if spilling.is_empty() { "no spills".to_owned() } else { format!("{} spill", spilling.len()) };
    out.line(format_args!(
        "{} compiled in {:.0} s, {verdict}",
        count(entries.len(), "kernel"),
        seconds.get()
    ));
    out.into_text()
}

/// `bench kernels check --device`: a line for each kernel, variant and shape.
pub fn render_checked(checked: &[CheckedKernel], gpu: &str, seconds: Seconds, style: Style) -> String {
    let mut out = Page::default();
    let width =
        |of: &dyn Fn(&CheckedKernel) -> &str| checked.iter().map(|line| of(line).chars().count()).max();
    let [kernel, variant, shape]: [usize; 3] =
        [width(&|line| &line.kernel), width(&|line| &line.variant), width(&|line| &line.shape)]
            .map(|width| width.unwrap_or_default().max(6));
    let header = format!("{:<kernel$}  {:<variant$}  {:<shape$}  result", "kernel", "for", "shape");
    out.line(format_args!("{}", style.dim(&header)));
    for line in checked {
        let result = match &line.wrong {
            None => style.good("correct"),
            Some(wrong) => style.bad(&format!("wrong: {wrong}")),
        };
        out.line(format_args!(
            "{:<kernel$}  {:<variant$}  {:<shape$}  {result}",
            line.kernel, line.variant, line.shape
        ));
    }
    let wrong = checked.iter().filter(|line| line.wrong.is_some()).count();
    let verdict = if wrong == 0 { "all correct".to_owned() } else { format!("{wrong} wrong") };
    out.line(format_args!("{} on {gpu} in {:.0} s, {verdict}", count(checked.len(), "check"), seconds.get()));
    out.into_text()
}
